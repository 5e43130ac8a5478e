"""What Airflow reads about this package must be true: its schema, our modules, our settings."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest

from dataharbour.get_provider_info import get_provider_info
from dataharbour.settings import Settings

INFO = get_provider_info()
MODULES = [
    name for kind in ("hooks", "operators", "triggers") for name in INFO[kind][0]["python-modules"]
]


@pytest.fixture(scope="module")
def schema():
    airflow = Path(distribution("apache-airflow-core").locate_file("airflow"))
    return json.loads((airflow / "provider_info.schema.json").read_text())


def test_it_follows_airflows_schema(schema):
    jsonschema.validate(INFO, schema)


def test_the_schema_check_can_fail(schema):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(INFO | {"hooks": "dataharbour.hooks"}, schema)


@pytest.mark.parametrize("name", MODULES)
def test_each_module_it_names_is_there(name):
    assert find_spec(name) is not None


def test_every_setting_is_described_and_no_other():
    described = set(INFO["config"]["dataharbour"]["options"])
    assert described == {field.name for field in fields(Settings)}


def test_name_and_version_are_those_of_the_distribution():
    installed = distribution(INFO["package-name"])
    assert INFO["versions"][0] == installed.version


def test_airflow_finds_it_by_the_entry_point():
    points = distribution(INFO["package-name"]).entry_points
    point = next(p for p in points if p.group == "apache_airflow_provider")
    assert point.load() is get_provider_info
    assert not [p for p in points if p.group == "airflow.plugins"], "plugins/ registers the plugin"


REGISTRY = """
import json, logging
from airflow.providers_manager import ProvidersManager

said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("airflow.providers_manager").addHandler(handler)
manager = ProvidersManager()
mine = manager.providers["airflow-provider-dataharbour"]
types = [kind["connection-type"] for kind in mine.data["connection-types"]]
hooks = {name: manager.hooks[name] for name in types}
links = manager.extra_links_class_names
print(json.dumps({
    "version": mine.version,
    "hooks": {name: h and [h.hook_class_name, h.hook_name] for name, h in hooks.items()},
    "links": [link for link in links if link.startswith("dataharbour")],
    "widgets": [name for name in manager.connection_form_widgets if "dataharbour" in name],
    "said": [text for text in said if "dataharbour" in text.lower()],
}))
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """What Airflow's own registry makes of it, in a process and home of its own."""
    home = tmp_path_factory.mktemp("airflow")
    asked = subprocess.run(
        [sys.executable, "-c", REGISTRY],
        env=os.environ | {"AIRFLOW_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stderr[-4000:]
    return json.loads(asked.stdout.splitlines()[-1])


def test_airflow_registers_the_connection_types_without_complaint(registry):
    assert registry["said"] == []
    assert registry["hooks"] == {
        kind["connection-type"]: [kind["hook-class-name"], kind["hook-name"]]
        for kind in INFO["connection-types"]
    }
    assert "extra__dataharbour_lake__endpoint_url" in registry["widgets"]


def test_airflow_finds_the_links_and_the_version(registry):
    assert sorted(registry["links"]) == sorted(INFO["extra-links"])
    assert registry["version"] == INFO["versions"][0]
