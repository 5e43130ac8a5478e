"""Runs whose task is gone: a real database and real drivers; what Airflow holds is given."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from dataharbour.jobs.driver.process import is_running, start_ticks
from dataharbour.jobs.execute import begin, open_run
from dataharbour.jobs.model import Desired, Detail, FailureClass, RunRequest
from dataharbour.jobs.reconcile import ACCEPTED_WITHIN, Task, Verdict, reconcile, verdict
from dataharbour.testing.fixtures import installation
from dataharbour.testing.runs import CALLER, site_of

__all__ = ["installation"]

GONE = Task(dag_run=None, task=None)
MARKED = Task(dag_run="failed", task="failed")
DEFERRED = Task(dag_run="running", task="deferred")
COMING = Task(dag_run="queued", task=None)


@pytest.fixture
def site(installation):
    return site_of(installation)


def later() -> datetime:
    """Two minutes from now: nothing has just changed."""
    return datetime.now(UTC) + timedelta(minutes=2)


def look(site, task: Task) -> dict[str, list[str]]:
    return reconcile(site.store, lambda run: task, backend_of=site.backend_of, clock=later)


def running(site, installation):
    """A run whose application sleeps; the driver's pid is the second value."""
    app = installation.application("import time; time.sleep(60)")
    run = open_run(site, RunRequest(application=app, backend="local"), caller=CALLER)
    attempt = begin(site, run)
    while site.store.get(run.id).detail is not Detail.RUNNING:
        pass
    return run, int(attempt.external_id.split(":")[-2])


@pytest.mark.parametrize("task", [DEFERRED, COMING, Task("running", "up_for_retry")])
def test_a_run_whose_task_comes_is_left_alone(site, installation, task):
    run, _ = running(site, installation)
    assert look(site, task) == {}
    assert site.store.get(run.id).detail is Detail.RUNNING


@pytest.mark.parametrize("task", [GONE, MARKED, Task("success", None)])
def test_a_run_without_a_task_fails_and_its_driver_ends(site, installation, task):
    run, pid = running(site, installation)
    assert look(site, task) == {"fail": [str(run.id)]}
    ended = site.store.get(run.id)
    assert (ended.detail, ended.failure.failure_class) == (Detail.FAILED, FailureClass.INFRA)
    assert look(site, task) == {}
    until = time.monotonic() + 10
    while is_running(pid, start_ticks(pid)):
        assert time.monotonic() < until, "the driver goes on"


def test_a_run_that_waits_for_a_retry_that_never_comes_fails(site, installation):
    run = open_run(site, RunRequest(application="app.py", backend="local"), caller=CALLER)
    site.store.finish(run.id, detail=Detail.RETRY_WAIT, now=datetime.now(UTC))
    assert look(site, GONE) == {"fail": [str(run.id)]}


def test_a_cancelled_run_without_a_task_ends_cancelled(site, installation):
    run, pid = running(site, installation)
    os.kill(pid, signal.SIGKILL)  # so that it cannot close the run itself
    with site.store._connect() as connection:  # its supervisor and its worker died in one moment
        connection.execute(
            "update public.run set detail = 'CANCELLING', desired = 'CANCELLED' where id = %s",
            [run.id],
        )
    assert look(site, GONE) == {"cancel": [str(run.id)]}
    assert site.store.get(run.id).detail is Detail.CANCELLED


def test_a_run_that_changed_just_now_is_not_looked_at(site, installation):
    running(site, installation)
    asked = []
    reconcile(site.store, asked.append, backend_of=site.backend_of, clock=lambda: datetime.now(UTC))
    assert asked == []


def accepted(site):
    request = RunRequest(application="app.py", backend="local")
    run, _ = site.store.accept(
        request,
        application_sha256="",
        principal="ana",
        dag_id="spark_job",
        dag_run_id="api__1",
        task_id="run",
        idempotency_key="k",
        fingerprint="f",
        now=datetime.now(UTC),
    )
    return run


def test_a_run_that_airflow_has_taken_becomes_queued(site):
    run = accepted(site)
    assert look(site, COMING) == {"queue": [str(run.id)]}
    assert site.store.get(run.id).detail is Detail.QUEUED


def test_a_run_that_airflow_never_got_is_closed_after_ten_minutes(site):
    run = accepted(site)
    assert look(site, GONE) == {}
    clock = lambda: datetime.now(UTC) + ACCEPTED_WITHIN  # noqa: E731
    assert reconcile(site.store, lambda _: GONE, backend_of=site.backend_of, clock=clock) == {
        "refuse": [str(run.id)]
    }
    assert "never took the run" in site.store.get(run.id).failure.message


@pytest.mark.parametrize("detail", [d for d in Detail if d is not Detail.ACCEPTED])
def test_every_state_of_a_run_without_a_task_has_an_end(site, detail):
    from dataclasses import replace

    run = replace(accepted(site), detail=detail, desired=Desired.SUCCEEDED)
    assert verdict(run, GONE, now=later()) is Verdict.FAIL
    assert verdict(run, DEFERRED, now=later()) is Verdict.LEAVE
