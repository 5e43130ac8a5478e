"""The DAG of the guide: written for the provider's operator, with its import changed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/guides/from-spark-submit-operator.md").read_text()
SAMPLE = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)[1]
OURS = re.search(r"^\+(from .*)$", GUIDE, re.MULTILINE)[1]
THEIRS = re.search(r"^-(from .*)$", GUIDE, re.MULTILINE)[1]

APPLICATION = """
    import json, sys
    print("given", *sys.argv[1:])
    assert json.loads(sys.argv[4]) == {"strict": True}
"""


@pytest.fixture
def task(installation, tmp_path, monkeypatch):
    """The task of the guide's DAG, with one of the two imports, not of the DAG folder."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", connection("local[2]"))

    def parse(line: str):
        file = tmp_path / "nightly_sales.py"
        file.write_text(SAMPLE.replace(OURS, line))
        bag = DagBag(file)
        assert bag.import_errors == {}
        sync_bag_to_db(bag, "dags-folder", None)
        [task] = bag.dags["nightly_sales"].tasks
        return task

    return parse


def connection(host: str, conn_type: str = "spark", **fields) -> str:
    return json.dumps({"conn_type": conn_type, "host": host, **fields})


def test_it_was_written_for_the_providers_operator(task):
    assert THEIRS != OURS
    assert task(THEIRS).task_type == "SparkSubmitOperator"


def test_it_runs_with_its_import_changed(task, installation, capfd):
    installation.application(APPLICATION, name="sales.py")
    dag = task(OURS).dag
    assert dag.test().state == "success"
    [run] = installation.store().list(limit=9).items
    assert (run.state, run.backend) == ("SUCCEEDED", "local")
    assert run.labels == {"name": "nightly-sales"}
    assert run.conf == {
        "spark.sql.shuffle.partitions": "8",
        "spark.driver.cores": "2",
        "spark.driver.memory": "1g",
        "spark.executor.memory": "2g",
        "spark.executor.cores": "2",
        "spark.executor.instances": "2",
    }
    said = capfd.readouterr().out
    assert re.search(r"given --day \d{4}-\d\d-\d\d --options {\"strict\": true}", said)
    assert "status_poll_interval has no effect here" in said
    assert "Connection spark_default: backend local" in said


def test_a_setting_off_the_allow_list_fails_the_run_and_says_so(task, installation):
    installation.application("", name="sales.py")
    found = task(OURS)
    found.conf["spark.jars.packages"] = "x:y:1"
    assert found.dag.test().state == "failed"
    [run] = installation.store().list(limit=9).items
    assert "'spark.jars.packages' may not be set" in run.failure.message


def test_every_argument_is_in_the_guide_as_it_is_decided():
    from dataharbour.operators.submit_arguments import DECISIONS

    rows = re.findall(r"^\| `(\w+)` \| (\w[\w ]*) \| (.+) \|$", GUIDE, re.MULTILINE)
    assert {name: fate for name, fate, _ in rows} == {
        name: str(made.fate) for name, made in DECISIONS.items()
    }
    for name, _, text in rows:
        assert DECISIONS[name].says in text.replace("`", "")
