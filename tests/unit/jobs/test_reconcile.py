"""Runs whose task is gone: a real database and real drivers; what Airflow holds is given."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dataharbour.errors import Unavailable
from dataharbour.jobs.conclude import PUBLISH_WITHIN, conclude
from dataharbour.jobs.driver.process import is_running, start_ticks
from dataharbour.jobs.execute import begin, open_run
from dataharbour.jobs.finalize import Gate
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.jobs.model import Desired, Detail, FailureClass, RunRequest
from dataharbour.jobs.outcomes import Outcome
from dataharbour.jobs.reconcile import ACCEPTED_WITHIN, Task, Verdict, reconcile, verdict
from dataharbour.testing.fixtures import installation
from dataharbour.testing.runs import CALLER, carry_out, sales, sales_request, site_of

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
    return reconcile(replace(site, clock=later), lambda run: task)


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


def succeeded(site, installation, **changes):
    """A run whose driver has staged its table, and whose task was killed before it published it."""
    request = replace(sales_request(installation), **changes)
    run = open_run(site, request, caller=CALLER)
    begin(site, run)
    while not site.store.wait(run.id, timeout_s=5).ended:
        pass
    return run


def staging(installation) -> list[Path]:
    return list((installation.lake / ".attempts").glob("*"))


@pytest.mark.parametrize("is_finalizing", [False, True])
@pytest.mark.parametrize("task", [GONE, MARKED])
def test_what_a_run_without_a_task_has_staged_is_published(site, installation, task, is_finalizing):
    run = succeeded(site, installation)
    if is_finalizing:
        site.store.finalizing(run.id, datetime.now(UTC))
    assert look(site, DEFERRED) == {}
    assert look(site, task) == {"publish": [str(run.id)]}
    ended = site.store.get(run.id)
    assert ended.detail is Detail.SUCCEEDED
    assert ended.result["tables"]["gold/sales"]["rows"] == 3
    assert sales(installation) == [0, 1, 2]
    assert staging(installation) == []
    assert look(site, task) == {}


class Killed(BaseException):
    """The task's process is gone."""


def conclude_by(site, run, caller):
    attempt = site.store.wait(run.id, timeout_s=0)
    with Gate.of(run, site.lake, site.settings.include_dir) as gate:
        return conclude(site, run, attempt, Outcome.ENDED, caller=caller, gate=gate)


def killed_at(site, run, monkeypatch, where: str):
    """The last try of the task is killed as it calls a function, or a method, of publishing."""

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"dataharbour.jobs.{where}", die)
        with pytest.raises(Killed):
            conclude_by(site, run, replace(CALLER, may_retry=False))


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("output._write", id="before-the-record"),
        pytest.param("attempts.RightToPublish.complete", id="before-the-mark"),
        pytest.param("finalize.remove_outdated", id="before-old-files-go"),
        pytest.param("finalize.discard_staging", id="before-the-staging-goes"),
        pytest.param("store.RunStore.finish", id="before-the-end"),
    ],
)
def test_a_last_try_that_was_killed_while_it_published_is_carried_on(
    site, installation, monkeypatch, where
):
    carry_out(site, sales_request(installation, count=2), caller=replace(CALLER, dag_run_id="0"))
    run = succeeded(site, installation)
    killed_at(site, run, monkeypatch, where)
    assert site.store.get(run.id).detail is Detail.FINALIZING
    assert look(site, MARKED) == {"publish": [str(run.id)]}
    assert site.store.get(run.id).detail is Detail.SUCCEEDED
    assert sales(installation) == [0, 1, 2]
    assert staging(installation) == []


def test_a_lake_that_is_away_is_waited_for(site, installation):
    run = succeeded(site, installation)
    away = replace(
        site, lake=LakeEndpoint("s3a://lake", "http://127.0.0.1:9", "us-east-1", "key", "secret")
    )
    with pytest.raises(Unavailable, match=str(run.id)):
        look(away, GONE)
    assert site.store.get(run.id).detail is Detail.FINALIZING
    in_a_while = replace(site, clock=lambda: later() + timedelta(minutes=2))
    assert reconcile(in_a_while, lambda _: GONE) == {"publish": [str(run.id)]}
    assert site.store.get(run.id).detail is Detail.SUCCEEDED


def test_a_lake_that_is_away_for_a_day_fails_the_run(site, installation):
    run = succeeded(site, installation)
    away = replace(
        site, lake=LakeEndpoint("s3a://lake", "http://127.0.0.1:9", "us-east-1", "key", "secret")
    )
    with pytest.raises(Unavailable):
        look(away, GONE)
    a_day_later = replace(away, clock=lambda: later() + PUBLISH_WITHIN)
    assert reconcile(a_day_later, lambda _: GONE) == {"publish": [str(run.id)]}
    ended = site.store.get(run.id)
    assert (ended.detail, ended.failure.failure_class) == (Detail.FAILED, FailureClass.INFRA)
    assert ended.failure.message.startswith("Its outputs could not be published for 24 hours: ")


def test_old_files_that_cannot_be_deleted_hold_up_a_run_only_while_somebody_comes_again(
    site, installation, monkeypatch
):
    def refuse(*_, **__):
        raise Unavailable("Access denied.", "-")

    monkeypatch.setattr("dataharbour.jobs.finalize.remove_outdated", refuse)
    run = succeeded(site, installation)
    with pytest.raises(Unavailable, match="Access denied"):
        conclude_by(site, run, CALLER)
    assert site.store.get(run.id).detail is Detail.FINALIZING
    assert look(site, GONE) == {"publish": [str(run.id)]}
    assert site.store.get(run.id).detail is Detail.SUCCEEDED


def test_a_run_that_is_ended_by_an_error_is_not_called_open(site, installation, monkeypatch):
    def broken(*_, **__):
        raise ValueError("no such thing")

    monkeypatch.setattr("dataharbour.jobs.finalize.publish", broken)
    run = succeeded(site, installation)
    assert look(site, GONE) == {"fail": [str(run.id)]}
    assert site.store.get(run.id).detail is Detail.FAILED


def test_what_its_expectations_refuse_fails_and_leaves_no_copies(site, installation, monkeypatch):
    """The task was killed while it copied, and then somebody made the suite stricter."""
    suite = installation.sales_suite(at_most=9)
    run = succeeded(site, installation, expectations=suite)
    killed_at(site, run, monkeypatch, "attempts.RightToPublish.complete")
    (installation.lake / "gold/sales/_published.json").write_text("{}")
    assert sales(installation) == [0, 1, 2], "copied, and not yet named by the record"
    installation.sales_suite(at_most=1)
    assert look(site, GONE) == {"publish": [str(run.id)]}
    ended = site.store.get(run.id)
    assert (ended.detail, ended.failure.failure_class) == (Detail.FAILED, FailureClass.QUALITY)
    assert sales(installation) == []
    assert staging(installation) == []


def test_a_failure_says_what_an_earlier_try_had_published(site, installation, monkeypatch):
    suite = installation.sales_suite(at_most=9)
    run = succeeded(site, installation, expectations=suite)
    killed_at(site, run, monkeypatch, "attempts.RightToPublish.complete")
    installation.sales_suite(at_most=1)
    look(site, GONE)
    assert site.store.get(run.id).failure.message.endswith("Published before that: gold/sales.")
    assert sales(installation) == [0, 1, 2]


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
    reconcile(site, asked.append)
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
    assert reconcile(replace(site, clock=clock), lambda _: GONE) == {"refuse": [str(run.id)]}
    assert "never took the run" in site.store.get(run.id).failure.message


@pytest.mark.parametrize("detail", [d for d in Detail if d is not Detail.ACCEPTED])
def test_every_state_of_a_run_without_a_task_has_an_end(site, detail):
    run = replace(accepted(site), detail=detail, desired=Desired.SUCCEEDED)
    for has_succeeded, end in ((False, Verdict.FAIL), (True, Verdict.PUBLISH)):
        assert verdict(run, GONE, has_succeeded=has_succeeded, now=later()) is end
        assert verdict(run, DEFERRED, has_succeeded=has_succeeded, now=later()) is Verdict.LEAVE
    cancelled = replace(run, desired=Desired.CANCELLED)
    assert verdict(cancelled, GONE, has_succeeded=True, now=later()) is Verdict.CANCEL


def waiting(site, dag_run_id: str):
    """A run that waits for a next try, without a driver."""
    caller = replace(CALLER, dag_run_id=dag_run_id)
    run = open_run(site, RunRequest(application="app.py", backend="local"), caller=caller)
    return site.store.finish(run.id, detail=Detail.RETRY_WAIT, now=datetime.now(UTC))


def test_the_first_clear_after_it_starts_a_new_run(site):
    run = waiting(site, CALLER.dag_run_id)
    look(site, MARKED)
    request = RunRequest(application="app.py", backend="local")
    again = open_run(site, request, caller=replace(CALLER, clears=1))
    assert (again.retry_of, again.detail) == (run.id, Detail.QUEUED)


def test_so_does_the_first_clear_of_a_run_that_its_drivers_last_word_ended(
    site, installation, monkeypatch
):
    run, _ = running(site, installation)

    def cancelled(store, run, *_, **__):
        store.finish(run.id, detail=Detail.CANCELLED, now=later())
        return True

    monkeypatch.setattr("dataharbour.jobs.reconcile.end_driver", cancelled)
    look(site, MARKED)
    assert site.store.get(run.id).detail is Detail.CANCELLED
    request = RunRequest(application="app.py", backend="local")
    assert open_run(site, request, caller=replace(CALLER, clears=1)).retry_of == run.id


def test_a_run_that_cannot_be_looked_after_does_not_keep_the_others_waiting(site):
    bad, good = waiting(site, "bad"), waiting(site, "good")

    def task_of(run):
        if run.id == bad.id:
            raise PermissionError(1, "Operation not permitted")
        return GONE

    with pytest.raises(Unavailable, match=f"1 runs .* {bad.id} \\(PermissionError\\)") as caught:
        reconcile(replace(site, clock=later), task_of)
    assert str(good.id) not in caught.value.problem
    assert site.store.get(good.id).detail is Detail.FAILED
    assert site.store.get(bad.id).detail is Detail.RETRY_WAIT


def test_runs_that_are_left_alone_do_not_hide_those_behind_them(site, monkeypatch):
    monkeypatch.setattr("dataharbour.jobs.reconcile.PAGE", 1)
    left = [waiting(site, f"left_{n}").id for n in range(2)]
    orphan = waiting(site, "orphan")
    task_of = lambda run: DEFERRED if run.id in left else GONE  # noqa: E731
    done = reconcile(replace(site, clock=later), task_of)
    assert done == {"fail": [str(orphan.id)]}
