"""From a job file to its DAG."""

from __future__ import annotations

import asyncio
import json
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


def test_each_form_of_a_schedule_is_one_of_airflows(declare, parse):
    night = "0 2 * * *"
    forms = {
        "moments": night,
        "intervals": {"cron": night, "data_interval": True},
        "tables": {"assets": ["silver/flights", "tariffs"]},
        "any": {"assets": ["silver/flights", "s3://lake/raw"], "when": "any"},
        "either": {"assets": ["silver/flights"], "cron": night},
        "partitions": {"cron": night, "partition_key": "%Y-%m-%d", "partition_offset": -1},
        "of_partitions": {"assets": ["silver/flights"], "partition_by": "day"},
        "same_partitions": {"assets": ["silver/flights"], "partition_by": "same"},
    }
    for name, schedule in forms.items():
        declare(name, schedule=schedule, timezone="Europe/Zurich")
    bag = parse()
    assert bag.import_errors == {}
    kinds = {name: type(bag.dags[f"job__{name}"].timetable).__name__ for name in forms}
    assert kinds == {
        "moments": "CronTriggerTimetable",
        "intervals": "CronDataIntervalTimetable",
        "tables": "AssetTriggeredTimetable",
        "any": "AssetTriggeredTimetable",
        "either": "AssetOrTimeSchedule",
        "partitions": "CronPartitionTimetable",
        "of_partitions": "PartitionedAssetTimetable",
        "same_partitions": "PartitionedAssetTimetable",
    }
    conditions = {n: bag.dags[f"job__{n}"].timetable.asset_condition for n in ("tables", "any")}
    assert {n: type(found).__name__ for n, found in conditions.items()} == {
        "tables": "AssetAll",
        "any": "AssetAny",
    }


def test_every_form_of_a_schedule_survives_the_way_to_the_scheduler(declare, parse):
    from airflow.serialization.serialized_objects import DagSerialization

    declare("a", schedule={"assets": ["x/y", "tariffs"], "when": "any"})
    declare("b", schedule={"cron": "@daily", "partition_key": "%Y"}, deadline={"within_s": 60})
    declare("c", schedule={"assets": ["x/y"], "partition_by": "month"}, timezone="Asia/Kolkata")
    declare("d", schedule="@daily", start="2026-01-01", end="2026-03-01T06:00", catchup=True)
    declare("e", retry_delay_s={"INFRA": 5}, inputs=["x/y", "s3://lake/raw", "tariffs"])
    for dag in parse().dags.values():
        there = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
        assert there.dag_id == dag.dag_id


def test_the_time_that_a_schedule_is_for_is_in_the_jobs_zone(declare, parse):
    declare(
        "sales",
        schedule="@daily",
        timezone="Europe/Zurich",
        start="2026-07-01",
        end="2026-08-01T12:00",
        catchup=True,
    )
    dag = parse().dags["job__sales"]
    assert dag.catchup is True
    assert dag.start_date.isoformat() == "2026-06-30T22:00:00+00:00"
    assert dag.end_date.isoformat() == "2026-08-01T10:00:00+00:00"
    declare("sales", schedule="@daily", end="2026-01-31")
    assert parse().dags["job__sales"].end_date.isoformat() == "2026-01-31T23:59:59+00:00"


def test_failures_are_tried_again_by_their_class(declare, parse):
    from airflow.sdk import RetryAction

    from dataharbour.operators.failures import Infrastructure, OutOfMemory, RunFailed

    declare("sales", retries=1, retry_delay_s={"OUT_OF_MEMORY": 600})
    [task] = parse().dags["job__sales"].tasks
    verdicts = {
        kind: task.retry_policy.evaluate(kind("x"), try_number=1, max_tries=3)
        for kind in (RunFailed, OutOfMemory, Infrastructure, OSError)
    }
    assert {kind: found.action for kind, found in verdicts.items()} == {
        RunFailed: RetryAction.FAIL,
        OutOfMemory: RetryAction.RETRY,
        Infrastructure: RetryAction.RETRY,
        OSError: RetryAction.DEFAULT,
    }
    assert verdicts[OutOfMemory].retry_delay.total_seconds() == 600
    assert verdicts[Infrastructure].retry_delay.total_seconds() == 60


def test_a_job_that_skips_lets_more_runs_begin_than_may_go_on(declare, parse):
    declare("sales", on_busy="skip", max_concurrent_runs=2)
    dag = parse().dags["job__sales"]
    [task] = dag.tasks
    assert task.max_concurrent_runs == 2
    assert dag.max_active_runs > 2


@pytest.mark.parametrize(
    ("of", "reference"),
    [("queued", "DagRunQueuedAtDeadline"), ("logical_date", "DagRunLogicalDateDeadline")],
)
def test_a_deadline_is_airflows_and_calls_what_is_there(declare, parse, of, reference):
    from airflow.sdk.module_loading import import_string

    declare("sales", deadline={"within_s": 90, "of": of})
    [deadline] = parse().dags["job__sales"].deadline
    assert deadline.interval.total_seconds() == 90
    assert deadline.reference.reference_name == reference
    assert deadline.callback.kwargs == {"job": "sales"}
    assert asyncio.iscoroutinefunction(import_string(deadline.callback.path))


def test_what_a_job_reads_are_the_inlets_of_its_task(declare, parse):
    declare("sales", inputs=["silver/flights", "tariffs"])
    [task] = parse().dags["job__sales"].tasks
    assert [getattr(inlet, "uri", None) or inlet.name for inlet in task.inlets] == [
        "dataharbour://table/silver/flights",
        "tariffs",
    ]
