"""From a job file to its DAG."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml


@pytest.fixture
def declare(settings, tmp_path):
    """Writes job files; the include folder holds no others."""
    (tmp_path / "include/jobs").mkdir(parents=True)
    settings(include_dir=tmp_path / "include")

    def write(name: str, text: str | None = None, **fields: object) -> None:
        document = {"description": f"The job {name}.", "application": "app.py", **fields}
        path = tmp_path / "include/jobs" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document) if text is None else text)

    return write


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"text": "description: ["}, id="no-yaml"),
        pytest.param({"nonsense": 1}, id="unknown-field"),
        pytest.param({"schedule": "99 99 * * *"}, id="no-cron"),
        pytest.param(
            {"schedule": "@daily", "params": {"day": {"type": "string"}}},
            id="a-schedule-cannot-fill-params",
        ),
        pytest.param({"params": {"n": {"type": "integer", "default": "x"}}}, id="bad-default"),
        pytest.param(
            {
                "schedule": "@daily",
                "params": {"day": {"type": "string", "format": "date", "default": "soon"}},
            },
            id="a-default-that-only-airflow-refuses",
        ),
    ],
)
def test_a_broken_file_takes_away_only_its_own_dag(declare, parse, broken):
    declare("good")
    declare("bad", **broken)
    bag = parse()
    assert sorted(bag.dags) == ["job__good", "run_reconciliation", "spark_job"]
    shown = {Path(file).name: text for file, text in bag.import_errors.items()}
    assert "jobs.py" not in shown
    only_airflow_knows = "format" in str(broken)
    assert ("bad: " in shown.get("broken_jobs.py", "")) is not only_airflow_knows


def test_without_jobs_there_is_the_one_off_dag(declare, parse):
    assert sorted(parse().dags) == ["run_reconciliation", "spark_job"]


def test_the_fields_of_a_job_are_those_of_its_dag(declare, parse):
    declare(
        "sales",
        description="Sales by day.\nFrom the tills.",
        schedule="30 2 * * 1",
        timezone="Europe/Zurich",
        retries=2,
        retry_delay_s=90,
        max_concurrent_runs=3,
        pool="small",
        outputs=[{"table": "gold/sales"}, {"table": "gold/tills", "partitioned_by": ["day"]}],
        expectations="sales",
    )
    dag = parse().dags["job__sales"]
    [task] = dag.tasks
    assert (dag.timetable.expression, str(dag.timetable.timezone)) == (
        "30 2 * * 1",
        "Europe/Zurich",
    )
    assert dag.description == "Sales by day."
    assert (dag.max_active_runs, task.pool) == (3, "small")
    assert task.retry_delay.total_seconds() == 90
    assert task.attempts == 3
    assert task.retries == 4, "two more tries pick up what a killed worker left"
    assert [asset.uri for asset in task.outlets] == [
        "dataharbour://table/gold/sales",
        "dataharbour://table/gold/tills",
    ]
    for said in ("From the tills.", "jobs/sales.yaml", "`gold/tills`", "suite `sales`"):
        assert said in dag.doc_md


def test_the_first_run_waits_for_its_time(declare, parse):
    """A job that is declared at noon does not run for this morning."""
    declare("nightly", schedule="0 2 * * *")
    dag = parse().dags["job__nightly"]
    assert dag.catchup is False
    assert dag.timetable.run_immediately is False


def test_params_become_form_fields_in_the_order_of_the_file(declare, parse):
    declare(
        "sales",
        text="""
description: Sales.
application: app.py
params:
  until: {type: string, format: date, default: "2026-01-01", title: Until}
  count: {type: integer, minimum: 1, default: 7, description: How many days.}
""",
    )
    params = parse().dags["job__sales"].params
    assert list(params) == ["until", "count"]
    assert params.get_param("until").schema == {
        "type": "string",
        "format": "date",
        "title": "Until",
    }
    assert params.get_param("count").description == "How many days."
    assert params.dump() == {"until": "2026-01-01", "count": 7}
