"""Every Airflow process loads the plugin; only the API server may pay for the API."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataharbour.plugin import OF_TASKS

PLUGINS = Path(__file__).parents[2] / "plugins"

LOOK = """
import json, sys, time
from airflow import plugins_manager
before = set(sys.modules)
started = time.perf_counter()
plugins, errors = plugins_manager._get_plugins()
cost_s = time.perf_counter() - started
[plugin] = [p for p in plugins if p.name == "dataharbour"]
print(json.dumps({
    "errors": errors,
    "cost_s": cost_s,
    "new": sorted(set(sys.modules) - before),
    "loaded": sorted(sys.modules),
    "source": str(plugin.source),
}))
"""


def look(tmp_path: Path, plugins: Path) -> dict:
    environ = os.environ | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    found = subprocess.run(
        [sys.executable, "-c", LOOK], env=environ, capture_output=True, text=True, check=True
    )
    return json.loads(found.stdout.splitlines()[-1])


def heavy(modules: list[str]) -> list[str]:
    return [
        name
        for name in modules
        if name.split(".")[0] in {"fastapi", "httpx", "psycopg"}
        or name.startswith(("airflow.api_fastapi", "dataharbour.api", "dataharbour.airflow_compat"))
    ]


def test_loading_the_plugins_folder_imports_nothing_but_the_plugin(tmp_path):
    found = look(tmp_path, PLUGINS)
    assert found["errors"] == {}
    assert found["source"] == "$PLUGINS_FOLDER/dataharbour_plugin.py"
    ours = {name for name in found["new"] if name.startswith("dataharbour")}
    assert ours - {"dataharbour"} == {"dataharbour.plugin", "dataharbour_plugin"}
    assert heavy(found["new"]) == []
    assert "fastapi" not in found["loaded"]
    assert found["cost_s"] < 0.1


def test_a_plugin_that_builds_its_api_at_import_would_be_noticed(tmp_path):
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "eager_plugin.py").write_text(
        "from dataharbour.plugin import DataHarbourPlugin\nimport dataharbour.api.app\n"
    )
    found = look(tmp_path, folder)
    assert "dataharbour.api.app" in heavy(found["new"])


PRELOAD = """
import json, sys
sys.argv = ["airflow", sys.argv[1]]
from airflow.jobs.job import Job
before = set(sys.modules)
Job()
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize(("component", "preloads"), [("scheduler", True), ("triggerer", False)])
def test_a_scheduler_imports_what_its_workers_need(tmp_path, component, preloads):
    environ = os.environ | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    found = subprocess.run(
        [sys.executable, "-c", PRELOAD, component],
        env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    new = set(json.loads(found.stdout.splitlines()[-1]))
    assert set(OF_TASKS).issubset(new) is preloads
    assert not {"pandas", "pyspark", "great_expectations"} & new
