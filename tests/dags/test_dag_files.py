"""What holds for every DAG file: it imports, serialises, is documented, and is quick to parse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
DAG_FILES = sorted((ROOT / "dags").glob("*.py"))
DAG_IDS = ["job__flights_delays", "run_reconciliation", "spark_job"]
PARSE_BUDGET_S = 0.5  # of all DAG files together, once Airflow itself is imported

PARSE = """
import os, sys, time
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
import airflow.sdk.execution_time.task_runner
before = set(sys.modules)
began = time.process_time()
bag = DagBag(sys.argv[1])
print("\\nseconds", time.process_time() - began)
heavy = {"pandas", "numpy", "pyarrow", "pyspark", "great_expectations", "psycopg"}
print("heavy", sorted(heavy & (sys.modules.keys() - before)))
print("errors", bag.import_errors)
"""


def shape(dag: Any) -> dict[str, Any]:
    """What a reviewer wants to see of a DAG when it changes."""
    from airflow.serialization.serialized_objects import DagSerialization

    whole = json.loads(json.dumps(DagSerialization.serialize_dag(dag)))
    [task] = [found["__var"] for found in whole["tasks"]]
    of_task = ("task_id", "task_type", "pool", "retries", "retry_delay", "outlets")
    of_dag = ("dag_id", "description", "timetable", "catchup", "max_active_runs", "tags", "params")
    return {
        **{name: whole.get(name) for name in of_dag},
        "task": {name: task.get(name) for name in of_task},
    }


def test_every_file_imports(parse):
    bag = parse()
    assert bag.import_errors == {}
    assert sorted(bag.dags) == DAG_IDS


@pytest.mark.parametrize("file", DAG_FILES, ids=lambda file: file.stem)
def test_every_file_has_a_runbook_and_names_it(file):
    runbook = f"docs/runbooks/{file.stem}.md"
    assert f"Runbook: {runbook}" in file.read_text()
    assert (ROOT / runbook).read_text().startswith("# ")


def test_every_dag_explains_itself(parse):
    for dag in parse().dags.values():
        assert "Runbook: docs/runbooks/" in dag.doc_md, dag.dag_id
        assert dag.description, dag.dag_id
        assert "dataharbour" in dag.tags, dag.dag_id
        assert dag.catchup is False, dag.dag_id


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_a_dag_keeps_its_shape(parse, dag_id):
    """REWRITE_GOLDEN=1 writes the files anew; look at the difference before you commit it."""
    found = json.dumps(shape(parse().dags[dag_id]), indent=2, sort_keys=True) + "\n"
    golden = GOLDEN / f"{dag_id}.json"
    if os.environ.get("REWRITE_GOLDEN"):
        golden.write_text(found)
    assert found == golden.read_text()


def test_parsing_again_makes_no_new_version(parse):
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import DagSerialization

    def hashes() -> dict[str, str]:
        return {
            dag_id: SerializedDagModel.hash(DagSerialization.to_dict(dag))
            for dag_id, dag in parse().dags.items()
        }

    assert hashes() == hashes()


def test_dags_survive_the_way_to_the_scheduler(parse):
    from airflow.serialization.serialized_objects import DagSerialization

    for dag in parse().dags.values():
        there = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
        [task] = there.tasks
        assert there.dag_id == dag.dag_id
        runs_spark = task.task_type == "SparkJobOperator"
        links = ["Driver log", "Run", "Spark UI", "Spark history"]
        assert sorted(task.extra_links) == (links if runs_spark else [])


def test_parsing_is_quick_and_loads_nothing_heavy(settings, tmp_path):
    environ = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARSE, str(ROOT / "dags")],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines()[-3:])
    assert said["errors"] == "{}"
    assert said["heavy"] == "[]"
    assert float(said["seconds"]) <= PARSE_BUDGET_S
