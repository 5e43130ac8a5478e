"""The import rules of pyproject.toml hold, and each of them can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "providers/dataharbour/src/dataharbour"


def lint(folder: Path, source: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_import_rules_hold():
    done = lint(ROOT, PACKAGE.parent)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        pytest.param("jobs/states.py", "import airflow.sdk", "domain", id="airflow-in-a-domain"),
        pytest.param("jobs/states.py", "import os", "pure", id="io-in-a-pure-module"),
        pytest.param(
            "errors.py", "import dataharbour.settings", "layers", id="from-below-to-above"
        ),
        pytest.param("newcomer.py", "", "layers", id="a-module-without-a-place"),
        pytest.param("api/keys.py", "import airflow.models", "compat", id="airflow-in-the-api"),
        pytest.param(
            "storage/store.py", "import dataharbour.jobs.finalize", "acyclic", id="a-cycle"
        ),
    ],
)
def test_a_planted_import_breaks_its_rule(tmp_path, module, line, broken):
    source = tmp_path / "src" / "dataharbour"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = source / module
    text = planted.read_text() if planted.exists() else ""
    planted.write_text(f"{text}\n{line}\n")
    done = lint(tmp_path, source.parent)
    assert done.returncode != 0
    assert f"{NAMES[broken]} BROKEN" in done.stdout


NAMES = {
    "layers": "Imports point one way",
    "acyclic": "No cycles between packages",
    "domain": "Domain packages know neither Airflow nor a web framework",
    "compat": "The API reaches Airflow through airflow_compat alone",
    "pure": "Modules that decide do no I/O",
}
