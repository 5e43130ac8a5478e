import subprocess
import sys

import pytest
from typer.testing import CliRunner

from dataharbour.cli.arguments import parse_param
from dataharbour.cli.main import app
from dataharbour.jobs.backends.names import BackendName


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("3", {"type": "integer"}, 3),
        ("3", {"type": "string"}, "3"),
        ("true", {"type": "boolean"}, True),
        ("true", {"type": ["string", "null"]}, "true"),
        ("null", {"type": ["string", "null"]}, None),
        ("null", {"type": "string"}, "null"),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ("[1, 2", {"type": "array"}, "[1, 2"),
        ("3", {}, 3),
        ("hello", {}, "hello"),
    ],
)
def test_a_parameter_is_read_by_its_declared_type(text, schema, value):
    assert parse_param(text, schema) == value


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["submit"], "name a job"),
        (["submit", "hello", "--application", "a.py"], "one of them"),
        (["submit", "hello", "--arg", "x"], "--arg belongs to --application"),
        (["submit", "hello", "--conf", "a=b"], "--conf belongs to --application"),
        (["submit", "hello", "--backend", "local"], "--backend belongs to --application"),
        (["submit", "--application", "a.py", "--param", "a=b"], "--param belongs to a declared"),
        (["submit", "hello", "--label", "team"], "NAME=VALUE"),
        (["list", "--limit", "0"], "--limit"),
        (["submit", "hello", "-o", "xml"], "xml"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_sent(monkeypatch, arguments, names):
    monkeypatch.setenv("DATAHARBOUR_URL", "http://127.0.0.1:1/dataharbour")
    monkeypatch.setenv("DATAHARBOUR_TOKEN", "t")
    result = CliRunner().invoke(app, ["job", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 2
    assert names in result.stderr
    assert result.stdout == ""
    assert "does not answer" not in result.stderr


def test_the_help_names_every_backend():
    shown = CliRunner().invoke(app, ["job", "submit", "--help"], env={"COLUMNS": "200"})
    assert [name for name in BackendName if name not in shown.stdout] == []


def test_the_verbs_cost_nothing_until_they_are_used():
    look = "import sys, dataharbour.cli.main; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True
    ).stdout.split()
    roots = {name.split(".")[0] for name in loaded}
    assert roots.isdisjoint({"httpx", "rich", "airflow", "fastapi", "psycopg", "pydantic"})
