from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from dataharbour.jobs.model import Desired, Detail, Run, State
from dataharbour.jobs.queueing import UNLIMITED, Facts, Reason, Slots, why_queued

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FREE = Facts(
    dag_paused=False,
    dag_run="running",
    runs=Slots(3, 1),
    task="scheduled",
    pool="drivers",
    pool_slots=Slots(2, 1),
    tasks=Slots(16, 0),
    executor=Slots(4, 1),
)
LINE = replace(FREE, dag_run="queued", task=None)


def run(detail: Detail = Detail.QUEUED, **changes) -> Run:
    values = dict.fromkeys(
        ("job", "started_at", "ended_at", "failure", "expectations", "timeout_s", "progress"),
    )
    found = Run(
        id=UUID(int=1),
        application="app.py",
        application_sha256="",
        args=(),
        conf={},
        params={},
        labels={},
        backend="connect",
        detail=detail,
        desired=Desired.SUCCEEDED,
        version=1,
        attempt=0,
        dag_id="job__sales",
        dag_run_id="r",
        task_id="run",
        map_index=-1,
        principal="ana",
        created_at=NOW,
        outputs=(),
        result=None,
        **values,
    )
    return replace(found, **changes)


@pytest.mark.parametrize(
    ("facts", "reason", "message", "position"),
    [
        (replace(FREE, dag_paused=True), "dag_paused", "the DAG job__sales is paused", None),
        (replace(FREE, dag_paused=None), "dag_missing", "Airflow has no DAG job__sales", None),
        (
            replace(LINE, runs=Slots(2, 2), runs_before=4),
            "max_concurrent_runs",
            "2 of at most 2 runs of its DAG are active",
            5,
        ),
        (
            replace(LINE, runs=Slots(2, 2), of_backfill=True),
            "max_concurrent_runs",
            "2 of at most 2 runs of its backfill are active",
            None,
        ),
        (replace(LINE, backfill_paused=True), "backfill_paused", "its backfill is paused", None),
        (LINE, "scheduling", "the scheduler has not come to it yet", None),
        (
            replace(FREE, pool_slots=Slots(2, 2), tasks_before=0),
            "pool_full",
            "the pool drivers: 2 of 2 slots in use",
            1,
        ),
        (
            replace(FREE, wants=2),
            "pool_full",
            "the pool drivers: 1 of 2 slots in use",
            None,
        ),
        (replace(FREE, pool_slots=Slots(UNLIMITED, 9)), "scheduling", "the scheduler", None),
        (replace(FREE, pool_slots=None), "pool_missing", "there is no pool drivers", None),
        (replace(FREE, tasks=Slots(1, 1)), "task_concurrency", "1 of at most 1 tasks", None),
        (replace(FREE, executor=Slots(4, 4)), "executor_full", "4 of 4 tasks at work", None),
        (FREE, "scheduling", "the scheduler has not come to it yet", None),
        (replace(FREE, task=None), "scheduling", "the scheduler", None),
        (replace(FREE, task=None, alone=False), "upstream", "other tasks", None),
        (replace(FREE, task="queued"), "worker", "it waits for a worker", None),
        (replace(FREE, task="running"), "starting", "its task has begun", None),
        (replace(FREE, task="up_for_retry"), "retry_delay", "its next try", None),
        (replace(FREE, task="removed"), "unknown", "its task is removed", None),
        (replace(FREE, dag_run="failed"), "unknown", "its DAG run is failed", None),
        (replace(FREE, dag_run=None), "unknown", "Airflow has no DAG run of it", None),
        (None, "unknown", "Airflow could not be asked", None),
    ],
)
def test_why_a_run_waits(facts, reason, message, position):
    queue = why_queued(run(), facts, now=NOW)
    assert (queue.reason, queue.position) == (reason, position)
    assert message in queue.message


@pytest.mark.parametrize("detail", [d for d in Detail if run(d).state is not State.QUEUED])
def test_a_run_that_does_not_wait_has_no_reason(detail):
    assert why_queued(run(detail), FREE, now=NOW) is None


@pytest.mark.parametrize("detail", [Detail.SUBMITTING, Detail.SUBMITTED])
def test_a_driver_that_comes_up_is_no_queue(detail):
    assert why_queued(run(detail), None, now=NOW).reason is Reason.STARTING


def test_a_failed_attempt_waits_until_its_time_and_then_for_its_task():
    due = NOW + timedelta(minutes=1)
    waiting = run(Detail.RETRY_WAIT, attempt=1, retry_at=due)
    queue = why_queued(waiting, None, now=NOW)
    assert (queue.reason, queue.until) == (Reason.RETRY_DELAY, due)
    assert "attempt 1 failed; the next one begins at 12:01:00 UTC" in queue.message
    full = replace(FREE, pool_slots=Slots(1, 1))
    assert why_queued(waiting, full, now=due).reason is Reason.POOL_FULL


def test_a_run_that_airflow_has_not_confirmed_is_being_accepted():
    assert why_queued(run(Detail.ACCEPTED), Facts(), now=NOW).reason is Reason.ACCEPTING
