"""What the folders that are not packages may import and hold."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
PURE = {name for c in CONTRACTS if c["id"] == "pure" for name in c["source_modules"]}
STDLIB = set(sys.stdlib_module_names)

RULES = {  # folder -> what its files may import, with the reason shown on failure
    "dags": (STDLIB | {"airflow", "dataharbour"}, "DAG files are parsed every 30 s"),
    "plugins": (STDLIB | {"airflow", "dataharbour"}, "every Airflow process loads the plugin"),
    "spark_jobs": (STDLIB | PURE | {"pyspark"}, "Spark executors have none of our I/O"),
    "include": (set(), "include/ holds data; code is in the provider"),
}


def imported_modules(source: str) -> set[str]:
    """Absolute dotted names, as written; `from a import b` counts as `a`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def offences(source: str, allowed: set[str]) -> list[str]:
    return [
        name
        for name in sorted(imported_modules(source))
        if name not in allowed and name.split(".")[0] not in allowed
    ]


@pytest.mark.parametrize("folder", RULES)
def test_folder_keeps_its_import_rule(folder):
    allowed, why = RULES[folder]
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in offences(path.read_text(), allowed)
    ]
    assert not found, f"{why}:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("folder", "line", "offence"),
    [
        ("dags", "import boto3", "boto3"),
        ("plugins", "from sqlalchemy import text", "sqlalchemy"),
        ("spark_jobs", "import pandas as pd", "pandas"),
        ("spark_jobs", "from dataharbour.storage import s3", "dataharbour.storage"),
        ("spark_jobs", "def f():\n    import airflow.sdk", "airflow.sdk"),
        ("include", "import json", "json"),
    ],
)
def test_a_planted_import_is_found(folder, line, offence):
    assert offences(line, RULES[folder][0]) == [offence]


def test_include_holds_no_python():
    assert not list((ROOT / "include").rglob("*.py"))


def test_spark_jobs_use_what_spark_connect_has():
    """No RDDs and no SparkContext: the same file runs under spark-submit and on a server."""
    absent = {"rdd", "sparkContext", "SparkContext", "_jdf", "_jvm"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} uses {name}"
        for path in sorted((ROOT / "spark_jobs").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if (name := getattr(node, "attr", getattr(node, "id", None))) in absent
    ]
    assert found == []
