"""Runs from their request to their end: a real database, real drivers, plain Python for Spark."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dataharbour.errors import (
    ApplicationNotFound,
    ConfigError,
    Conflict,
    ConfNotAllowed,
    JobFailed,
    JobInvalid,
    SecretInRequest,
    Unavailable,
)
from dataharbour.jobs import conclude, execute, stopping
from dataharbour.jobs.backends.launch import NotSubmitted
from dataharbour.jobs.caller import Caller
from dataharbour.jobs.driver.process import is_running, start_ticks
from dataharbour.jobs.execute import begin, open_run
from dataharbour.jobs.finalize import Gate
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.jobs.model import (
    AttemptState,
    Detail,
    FailureClass,
    Occasion,
    Output,
    Run,
    RunRequest,
)
from dataharbour.jobs.outcomes import Outcome
from dataharbour.jobs.site import Site
from dataharbour.jobs.stopping import BY_AIRFLOW
from dataharbour.jobs.store import RunStore
from dataharbour.testing.fixtures import Installation, installation
from dataharbour.testing.plain_backend import PlainBackend
from dataharbour.testing.runs import CALLER, carry_out, sales, sales_request, site_of, starts

__all__ = ["installation"]

SECOND = replace(CALLER, dag_run_id="manual__2")


@pytest.fixture
def site(installation: Installation) -> Site:
    return site_of(installation)


def details(store: RunStore, run: Run) -> list[str | None]:
    return [event.new for event in store.events(run.id) if event.kind == "run.changed"]


def test_a_run_passes_every_state_and_publishes_what_it_wrote(site, installation):
    lines: list[str] = []
    done = carry_out(site, sales_request(installation), emit=lines.append)
    assert done.failure is None
    assert details(site.store, done.run) == [
        "QUEUED",
        "SUBMITTING",
        "SUBMITTED",
        "RUNNING",
        "FINALIZING",
        "SUCCEEDED",
    ]
    assert done.run.result is not None
    [size] = [f.stat().st_size for f in (installation.lake / "gold/sales").glob("*.parquet")]
    assert done.run.result == {
        "tables": {"gold/sales": {"rows": 3, "files": 1, "bytes": size}},
        "quality": None,
    }
    assert done.run.clears == 0
    assert sales(installation) == [0, 1, 2]
    assert lines == ["staged 3.parquet"]


def test_the_cause_of_a_failure_is_its_first_line(site, installation):
    app = installation.application("x = {}\nx['price']")
    done = carry_out(site, RunRequest(application=app, backend="local"))
    assert done.run.detail is Detail.FAILED
    assert done.run.failure is not None
    assert done.run.failure.failure_class is FailureClass.USER_ERROR
    assert done.run.failure.message.split("\n")[0] == "KeyError: 'price'"
    assert not done.goes_on


def test_a_failed_run_leaves_its_tables_as_they_were(site, installation):
    carry_out(site, sales_request(installation, count=2))
    failing = sales_request(installation, count=9, then="    raise SystemExit(3)")
    done = carry_out(site, failing, caller=SECOND)
    assert done.run.detail is Detail.FAILED
    assert sales(installation) == [0, 1]


def test_a_retry_is_a_new_attempt_and_the_run_stays_the_same(site, installation):
    app = installation.application("""
        import sys, pathlib
        mark = pathlib.Path(sys.argv[1])
        if not mark.exists():
            mark.touch()
            raise RuntimeError("first time")
    """)
    request = RunRequest(application=app, args=(str(installation.root / "mark"),), backend="local")
    stubborn = replace(
        CALLER,
        attempts=2,
        retry_on=frozenset({FailureClass.USER_ERROR}),
        retry_delay_s={FailureClass.USER_ERROR: 90},
    )
    first = carry_out(site, request, caller=stubborn)
    assert first.goes_on
    assert first.run.retry_at is not None
    assert 80 < (first.run.retry_at - datetime.now(UTC)).total_seconds() <= 90
    second = carry_out(site, request, caller=stubborn)
    assert (second.run.id, second.run.attempt) == (first.run.id, 2)
    assert second.run.detail is Detail.SUCCEEDED


def test_a_job_without_retries_is_not_started_again(site, installation):
    app = installation.application("raise RuntimeError('no')")
    done = carry_out(site, RunRequest(application=app, backend="local"))
    assert done.run.detail is Detail.FAILED


def test_an_error_of_the_application_is_not_repeated_however_many_retries_are_left(
    site, installation
):
    app = installation.application("raise RuntimeError('no')")
    request = RunRequest(application=app, backend="local")
    done = carry_out(site, request, caller=replace(CALLER, attempts=5))
    assert (done.run.detail, done.goes_on) == (Detail.FAILED, False)


def test_every_attempt_is_for_the_date_that_the_run_was_opened_for(site, installation):
    seen = installation.root / "seen"
    app = installation.application("""
        import sys
        with open(sys.argv[1], "a") as file:
            print(*sys.argv[2:], file=file)
        raise MemoryError
    """)
    day = datetime(2026, 1, 31, 23, tzinfo=UTC)
    request = RunRequest(
        application=app,
        args=(str(seen), "{logical_date:%Y-%m-%d}", "{data_interval_end}"),
        backend="local",
        occasion=Occasion(day, day, day + timedelta(days=1), timezone="Europe/Zurich"),
    )
    caller = replace(CALLER, attempts=2)
    assert carry_out(site, request, caller=caller).goes_on
    elsewhere = replace(request, occasion=Occasion())  # what a later try says does not matter
    done = carry_out(site, elsewhere, caller=caller)
    assert (done.run.attempt, done.run.occasion) == (2, request.occasion)
    assert seen.read_text().splitlines() == ["2026-02-01 2026-02-01T23:00:00+00:00"] * 2


def test_a_run_that_is_started_again_is_for_the_same_date(site, installation):
    app = installation.application("")
    day = Occasion(datetime(2026, 1, 31, tzinfo=UTC))
    request = RunRequest(application=app, args=("{logical_date}",), backend="local", occasion=day)
    carry_out(site, request)
    again = carry_out(site, replace(request, occasion=Occasion()), caller=replace(CALLER, clears=1))
    assert again.failure is None
    assert again.run.retry_of is not None
    assert again.run.occasion == day


def test_a_date_that_the_run_has_not_refuses_it(site, installation):
    app = installation.application("")
    request = RunRequest(application=app, args=("{logical_date}",), backend="local")
    with pytest.raises(ConfigError, match="this run has no logical date"):
        carry_out(site, request)


def test_nothing_waits_for_a_retry_that_airflow_will_not_make(site, installation):
    app = installation.application("raise RuntimeError('no')")
    request = RunRequest(application=app, backend="local")
    last = replace(CALLER, attempts=5, may_retry=False)
    assert carry_out(site, request, caller=last).run.detail is Detail.FAILED


def test_a_declared_table_that_was_not_written_fails_the_run(site, installation):
    app = installation.application("print('nothing')")
    request = RunRequest(application=app, backend="local", outputs=(Output("gold/sales"),))
    done = carry_out(site, request, caller=replace(CALLER, attempts=3))
    assert done.run.detail is Detail.FAILED
    assert done.run.failure is not None
    assert "gold/sales" in done.run.failure.message


@pytest.mark.parametrize(
    ("may_retry", "expected"),
    [
        pytest.param(True, Detail.FINALIZING, id="the-next-try-goes-on"),
        pytest.param(False, Detail.FINALIZING, id="the-reconciliation-goes-on"),
    ],
)
def test_outputs_that_cannot_be_published_now(site, installation, may_retry, expected):
    away = LakeEndpoint("s3a://lake", "http://127.0.0.1:9", "us-east-1", "key", "secret")
    request = sales_request(installation)
    with pytest.raises(Unavailable):
        carry_out(replace(site, lake=away), request, caller=replace(CALLER, may_retry=may_retry))
    run = site.store.find(dag_id=CALLER.dag_id, dag_run_id=CALLER.dag_run_id)
    assert run is not None
    assert (run.detail, run.failure) == (expected, None)


def test_a_fault_that_time_does_not_mend_ends_the_run_in_the_last_try(
    site, installation, monkeypatch
):
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr("dataharbour.jobs.finalize.publish", broken)
    with pytest.raises(ValueError, match="no such thing"):
        carry_out(site, sales_request(installation), caller=replace(CALLER, may_retry=False))
    run = site.store.find(dag_id=CALLER.dag_id, dag_run_id=CALLER.dag_run_id)
    assert run is not None
    assert run.failure is not None
    assert run.failure.message.startswith("Publishing failed: ValueError('no such thing')")


# --- the gate ---------------------------------------------------------------------------


def test_what_the_gate_refuses_is_not_published(site, installation):
    carry_out(site, sales_request(installation, count=2))
    suite = installation.sales_suite(at_most=3)
    request = replace(sales_request(installation, count=7), expectations=suite)
    done = carry_out(site, request, caller=replace(SECOND, attempts=3))
    assert done.run.detail is Detail.FAILED
    assert done.run.failure is not None
    assert done.run.failure.failure_class is FailureClass.QUALITY
    message = done.run.failure.message
    assert "expect_column_values_to_be_between" in message
    assert "3 of 7 rows" in message
    assert "amount=4" in message
    assert sales(installation) == [0, 1]


def test_what_the_gate_passes_carries_its_verdict(site, installation):
    suite = installation.sales_suite(at_most=10)
    done = carry_out(site, replace(sales_request(installation), expectations=suite))
    assert done.run.result is not None
    assert done.run.result["quality"]["verdict"] == "passed"
    assert sales(installation) == [0, 1, 2]


# --- requests that cannot be run -----------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"application": "none.py"}, ApplicationNotFound, id="no-such-application"),
        pytest.param({"conf": {"spark.jars": "x"}}, ConfNotAllowed, id="conf-key"),
    ],
)
def test_a_wrong_request_ends_its_run_at_once(site, installation, changes, error):
    app = installation.application("")
    request = RunRequest(**{"application": app, "backend": "local", **changes})
    run = open_run(site, request, caller=CALLER)
    with pytest.raises(error) as caught:
        begin(site, run)
    execute.refuse(site, caught.value, caller=CALLER)
    ended = site.store.get(run.id)
    assert (ended.detail, ended.attempt) == (Detail.FAILED, 0)
    assert ended.failure is not None
    assert ended.failure.failure_class is FailureClass.CONFIG
    assert "remedy" in ended.failure.message


def test_an_application_that_changed_since_it_was_accepted_is_not_run(site, installation):
    app = installation.application("print('reviewed')")
    run = open_run(site, RunRequest(application=app, backend="local"), caller=CALLER)
    installation.application("print('something else')")
    with pytest.raises(Exception, match="has changed since the run was submitted"):
        begin(site, run)


# --- cancelling -------------------------------------------------------------------------------


@pytest.fixture
def sleeping(site: Site, installation: Installation) -> RunRequest:
    app = installation.application("import time; print('up', flush=True); time.sleep(60)")
    return RunRequest(application=app, backend="local")


def started(site: Site, request: RunRequest) -> Run:
    """A run whose user code is running."""
    run = open_run(site, request, caller=CALLER)
    begin(site, run)
    wait_for(lambda: site.store.logs(run.id).items)
    return run


def stop(site: Site, run: Run, *, within_s: float) -> bool:
    return stopping.cancel(
        site.store, run.id, backend_of=site.backend_of, within_s=within_s, clock=site.clock
    )


def wait_for(condition: Callable[[], object], *, seconds: float = 15) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def test_airflow_stops_a_driver_before_it_kills_the_task(site, sleeping):
    run = started(site, sleeping)
    began = time.monotonic()
    assert stop(site, run, within_s=3.5)
    assert time.monotonic() - began < 3.5
    ended = site.store.get(run.id)
    assert ended.detail is Detail.CANCELLED
    assert ended.ended_at is not None


def test_a_driver_that_takes_its_time_ends_its_run_when_nobody_waits_any_more(site, installation):
    app = installation.application("""
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("up", flush=True)
        time.sleep(60)
    """)
    run = started(site, RunRequest(application=app, backend="local"))
    assert not stop(site, run, within_s=0.5)
    assert site.store.get(run.id).detail is Detail.CANCELLING
    wait_for(lambda: site.store.get(run.id).detail is Detail.CANCELLED)


def test_a_task_that_waits_hears_of_the_cancellation(site, sleeping):
    run = started(site, sleeping)
    threading.Timer(0.3, lambda: site.store.cancel(run.id, now=site.clock())).start()
    done = carry_out(site, sleeping, caller=replace(CALLER, attempts=3))
    assert done.run.detail is Detail.CANCELLED
    assert not done.goes_on


def test_a_cancelled_run_is_not_started_by_its_task(site, sleeping):
    run = open_run(site, sleeping, caller=CALLER)
    site.store.cancel(run.id, now=site.clock())
    with pytest.raises(JobFailed, match="CANCELLED"):
        begin(site, open_run(site, sleeping, caller=CALLER))


def test_a_task_that_was_cleared_while_it_ran_gets_a_new_run(site, installation, sleeping):
    run = started(site, sleeping)
    installation.store(BY_AIRFLOW).cancel(run.id, now=site.clock())
    again = open_run(site, sleeping, caller=CALLER)
    assert again.retry_of == run.id
    assert again.detail is Detail.QUEUED
    assert site.store.get(run.id).detail is Detail.CANCELLED


def test_a_task_that_was_cleared_while_no_process_of_it_lived_gets_a_new_run(site, sleeping):
    """Between its deferral and the triggerer, or after its worker was killed."""
    first = replace(CALLER, task_try=1, max_tries=2)
    run = open_run(site, sleeping, caller=first)
    begin(site, run)
    wait_for(lambda: site.store.wait(run.id, timeout_s=0).observed is Detail.RUNNING)
    retried = open_run(site, sleeping, caller=replace(first, task_try=2))
    assert retried.id == run.id, "a try of Airflow's own takes the driver up"
    cleared = open_run(site, sleeping, caller=replace(first, task_try=3, max_tries=4))
    assert (cleared.retry_of, cleared.task_max_tries) == (run.id, 4)
    ended = site.store.get(run.id)
    assert ended.detail is Detail.CANCELLED
    assert site.store.wait(run.id, timeout_s=0).ended
    again = open_run(site, sleeping, caller=replace(first, task_try=4, max_tries=4))
    assert again.id == cleared.id, "cleared once, started anew once"


def test_so_does_one_that_was_cleared_before_its_next_attempt(site, sleeping):
    first = replace(CALLER, max_tries=2)
    run = open_run(site, sleeping, caller=first)
    site.store.finish(run.id, detail=Detail.RETRY_WAIT, now=site.clock())
    assert open_run(site, sleeping, caller=replace(first, task_try=2)).id == run.id
    cleared = open_run(site, sleeping, caller=replace(first, task_try=3, max_tries=4))
    assert (cleared.retry_of, cleared.detail) == (run.id, Detail.QUEUED)


def test_a_task_that_is_cleared_while_its_outputs_are_published_is_told_that(site, installation):
    run = succeeded(site, installation)
    site.store.finalizing(run.id, site.clock())
    with site.store._connect() as connection:
        connection.execute("update public.run set task_max_tries = 2 where id = %s", [run.id])
    cleared = replace(CALLER, task_try=3, max_tries=4)
    done = carry_out(site, sales_request(installation), caller=cleared)
    assert (done.run.id, done.run.detail) == (run.id, Detail.SUCCEEDED)


def test_a_run_that_a_person_cancelled_stays_so_when_its_task_comes_again(
    site, installation, sleeping
):
    run = started(site, sleeping)
    installation.store("api").cancel(run.id, now=site.clock())
    again = open_run(site, sleeping, caller=CALLER)
    assert again.id == run.id
    with pytest.raises(JobFailed, match="CANCELLED"):
        begin(site, again)


@pytest.mark.parametrize("ends_first", [False, True], ids=["it-still-runs", "it-has-ended"])
def test_a_task_that_airflow_stopped_gets_a_new_run_at_its_next_try(
    site, installation, sleeping, ends_first
):
    run = started(site, sleeping)
    by_airflow = installation.store(BY_AIRFLOW)
    stop(replace(site, store=by_airflow), run, within_s=15 if ends_first else 0)
    if not ends_first:  # nobody waits: the driver itself ends the run
        wait_for(lambda: site.store.get(run.id).detail is Detail.CANCELLED)
    again = open_run(site, sleeping, caller=CALLER)
    assert (again.retry_of, again.detail) == (run.id, Detail.QUEUED)


def test_a_run_that_a_person_cancelled_is_not_started_by_a_second_try(site, sleeping):
    run = started(site, sleeping)
    site.store.cancel(run.id, now=site.clock())
    wait_for(lambda: site.store.get(run.id).detail is Detail.CANCELLED)
    for _ in range(2):  # the first may be killed before Airflow hears of it
        assert open_run(site, sleeping, caller=CALLER).id == run.id
    cleared = open_run(site, sleeping, caller=replace(CALLER, clears=1))
    assert cleared.retry_of == run.id


def test_a_cancellation_that_comes_after_the_driver_fell_over_ends_the_run(site, installation):
    app = installation.application("raise RuntimeError('no')")
    caller = replace(CALLER, attempts=3, retry_on=frozenset({FailureClass.USER_ERROR}))
    run = open_run(site, RunRequest(application=app, backend="local"), caller=caller)
    begin(site, run)
    attempt = site.store.wait(run.id, timeout_s=15)
    site.store.cancel(run.id, now=site.clock())
    with Gate(None, lake=site.lake, include_dir=site.settings.include_dir) as gate:
        done = conclude.conclude(site, run, attempt, Outcome.ENDED, caller=caller, gate=gate)
    assert done.run.detail is Detail.CANCELLED
    assert done.run.clears == 0


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_driver_that_outlives_its_time_is_stopped(site, sleeping, attempts):
    run = started(site, sleeping)
    attempt = site.store.wait(run.id, timeout_s=0)
    caller = replace(CALLER, attempts=attempts)
    with Gate(None, lake=site.lake, include_dir=site.settings.include_dir) as gate:
        done = conclude.conclude(site, run, attempt, Outcome.OVERDUE, caller=caller, gate=gate)
    assert done.run.detail is Detail.TIMED_OUT
    assert not done.goes_on
    assert site.store.wait(run.id, timeout_s=0).ended


def test_a_task_that_runs_out_of_time_before_it_has_a_driver_ends_its_run(site, sleeping):
    run = open_run(site, sleeping, caller=CALLER)
    stopping.time_out(
        site.store,
        run.id,
        backend_of=site.backend_of,
        within_s=1,
        caller=CALLER,
        clock=site.clock,
    )
    ended = site.store.get(run.id)
    assert (ended.detail, ended.attempt) == (Detail.TIMED_OUT, 0)


def succeeded(site: Site, installation: Installation) -> Run:
    """A run whose driver has staged its table; nobody has published it yet."""
    run = open_run(site, sales_request(installation), caller=CALLER)
    begin(site, run)
    wait_for(lambda: site.store.wait(run.id, timeout_s=1).ended)
    return site.store.get(run.id)


def test_a_driver_that_succeeded_as_its_time_was_over_is_published(site, installation):
    run = succeeded(site, installation)
    attempt = replace(site.store.wait(run.id, timeout_s=0), observed=Detail.RUNNING)
    done = concluded(site, run, attempt, Outcome.OVERDUE)
    assert (done.run.detail, done.failure) == (Detail.SUCCEEDED, None)
    assert sales(installation) == [0, 1, 2]


@pytest.mark.parametrize("is_finalizing", [False, True])
@pytest.mark.parametrize("ends", ["out_of_time", "abandoned_by"])
def test_a_task_that_ends_amid_the_publication_leaves_that_to_who_comes_next(
    site, installation, ends, is_finalizing
):
    run = succeeded(site, installation)
    if is_finalizing:
        site.store.finalizing(run.id, site.clock())
    before = site.store.get(run.id)
    globals()[ends](site, run, replace(CALLER, may_retry=False))
    assert site.store.get(run.id) == before
    done = carry_out(site, sales_request(installation), caller=replace(CALLER, task_try=2))
    assert done.run.detail is Detail.SUCCEEDED
    assert starts(installation) == 1


def test_a_cancellation_before_the_publication_ends_the_run_and_removes_its_staging(
    site, installation
):
    run = succeeded(site, installation)
    attempt = site.store.wait(run.id, timeout_s=0)
    site.store.cancel(run.id, now=site.clock())  # after the task has looked
    done = concluded(site, run, attempt, Outcome.ENDED)
    assert done.run.detail is Detail.CANCELLED
    assert sales(installation) == []
    assert not list((installation.lake / ".attempts").glob("*"))


def test_a_run_that_is_published_is_not_cancelled_any_more(site, installation):
    run = succeeded(site, installation)
    site.store.finalizing(run.id, site.clock())
    with pytest.raises(Conflict, match="too late"):
        site.store.cancel(run.id, now=site.clock())
    assert carry_out(site, sales_request(installation)).run.detail is Detail.SUCCEEDED


# --- the task comes again -----------------------------------------------------------------------


def test_a_success_that_airflow_did_not_hear_of_is_told_again(site, installation):
    first = carry_out(site, sales_request(installation))
    again = carry_out(site, sales_request(installation))
    assert again.run == first.run
    assert starts(installation) == 1


def test_a_failure_that_airflow_did_not_hear_of_is_told_again(site, installation):
    app = installation.application("raise RuntimeError('no')")
    request = RunRequest(application=app, backend="local")
    first, again = carry_out(site, request), carry_out(site, request)
    assert again.run == first.run
    assert again.failure == first.failure


def test_a_task_that_is_cleared_after_its_end_gets_a_new_run(site, installation):
    first = carry_out(site, sales_request(installation))
    cleared = replace(CALLER, clears=1)
    second = carry_out(site, sales_request(installation), caller=cleared)
    assert second.run.retry_of == first.run.id
    assert second.run.detail is Detail.SUCCEEDED
    assert starts(installation) == 2


def out_of_reach() -> RunRequest:
    raise JobInvalid("The job is broken.", "Correct its file.")


def test_a_driver_that_lives_is_taken_up_whatever_has_become_of_the_jobs_file(site, sleeping):
    run = started(site, sleeping)
    assert open_run(site, out_of_reach, caller=CALLER) == site.store.get(run.id)


@pytest.mark.parametrize("source", ["", "raise RuntimeError('no')"], ids=["success", "failure"])
def test_an_end_is_told_whatever_has_become_of_the_jobs_file(site, installation, source):
    request = RunRequest(application=installation.application(source), backend="local")
    ended = carry_out(site, request).run
    assert open_run(site, out_of_reach, caller=CALLER).detail is ended.detail


def test_a_new_run_needs_the_jobs_file(site, installation):
    request = RunRequest(application=installation.application(""), backend="local")
    with pytest.raises(JobInvalid):
        open_run(site, out_of_reach, caller=CALLER)
    ended = carry_out(site, request).run
    with pytest.raises(JobInvalid):
        open_run(site, out_of_reach, caller=replace(CALLER, clears=1))
    assert site.store.get(ended.id).is_current, "another clear, once it is mended, follows it"


def test_a_repair_asks_what_shall_be_run_until_it_has_a_driver(site, installation):
    app = installation.application("raise RuntimeError('no')")
    failed = carry_out(site, RunRequest(application=app, args=("old",), backend="local")).run
    repaired, _ = site.store.repair(
        failed.id, principal="ana", idempotency_key="k", cleared=[], now=site.clock()
    )
    with pytest.raises(JobInvalid):
        open_run(site, out_of_reach, caller=CALLER)
    request = RunRequest(application=app, args=("new",), backend="local")
    taken = open_run(site, lambda: request, caller=CALLER)
    assert (taken.id, taken.args) == (repaired.id, ("new",))
    assert open_run(site, out_of_reach, caller=CALLER).id == repaired.id


# --- drivers die -----------------------------------------------------------------------------


def test_a_driver_that_was_killed_is_lost(site, installation):
    app = installation.application("""
        import os, signal, time
        os.kill(os.getppid(), signal.SIGKILL)  # the supervisor
        time.sleep(60)
    """)
    expire = "update attempt set lease_until = now() where state = 'RUNNING'"

    def lapse() -> None:
        wait_for(lambda: _changed(installation, expire))

    threading.Timer(0.5, lapse).start()
    done = carry_out(site, RunRequest(application=app, backend="local"))
    assert done.run.detail is Detail.FAILED
    assert done.run.failure is not None
    assert done.run.failure.failure_class is FailureClass.INFRA
    assert "LOST" in details(site.store, done.run)


def test_a_stopped_driver_that_was_given_up_is_killed_with_its_application(site, installation):
    """Stopped past its lease, both would wake up beside their successor."""
    app = installation.application("""
        import os, signal, sys, time
        open(sys.argv[1], "w").write(f"{os.getppid()} {os.getpid()}")
        os.kill(os.getppid(), signal.SIGSTOP)
        time.sleep(60)
    """)
    told = installation.root / "pids"
    expire = "update attempt set lease_until = now() where state = 'RUNNING'"

    def lapse() -> None:
        wait_for(lambda: told.exists() and told.read_text())
        wait_for(lambda: _changed(installation, expire))

    threading.Timer(0.5, lapse).start()
    request = RunRequest(application=app, args=(str(told),), backend="local")
    done = carry_out(site, request, caller=replace(CALLER, attempts=2))
    assert done.goes_on
    for pid in told.read_text().split():
        wait_for(lambda pid=int(pid): not is_running(pid, start_ticks(pid)))


STOPS_ITSELF = """
    import os, signal, sys, time
    open(sys.argv[1], "w").write(f"{os.getppid()} {os.getpid()}")
    os.kill(os.getppid(), signal.SIGSTOP)
    time.sleep(60)
"""


def frozen(site: Site, installation: Installation) -> tuple[Run, list[int]]:
    """A run whose supervisor is stopped and has let its lease go by; it and its application."""
    app = installation.application(STOPS_ITSELF)
    told = installation.root / "pids"
    request = RunRequest(application=app, args=(str(told),), backend="local")
    run = open_run(site, request, caller=CALLER)
    begin(site, run)
    wait_for(lambda: told.exists() and " " in told.read_text())
    expire = "update attempt set lease_until = now() where state = 'RUNNING'"
    wait_for(lambda: _changed(installation, expire))
    return site.store.get(run.id), [int(pid) for pid in told.read_text().split()]


def test_a_cancelled_run_whose_driver_is_frozen_ends_with_it(site, installation):
    run, pids = frozen(site, installation)
    assert stop(site, run, within_s=0)
    assert site.store.get(run.id).detail is Detail.CANCELLED
    for pid in pids:
        wait_for(lambda pid=pid: not is_running(pid, start_ticks(pid)))


def test_a_lost_driver_that_is_heard_of_again_is_waited_for(site, installation):
    """Its renewal was late: the database was away, or the machine was too busy."""
    run, pids = frozen(site, installation)
    attempt = site.store.wait(run.id, timeout_s=0)
    assert attempt.lapsed
    renew = "update attempt set lease_until = now() + interval '30 s' where state = 'RUNNING'"
    _changed(installation, renew)
    with pytest.raises(conclude.DriverCame, match="heard of, late"):
        concluded(site, run, attempt, Outcome.LAPSED)
    assert all(is_running(pid, start_ticks(pid)) for pid in pids)
    stop(site, run, within_s=0)
    _changed(installation, renew.replace("+", "-"))
    stop(site, run, within_s=0)


def test_nor_is_one_given_up_that_is_heard_of_in_the_last_moment(site, installation, monkeypatch):
    run, _ = frozen(site, installation)
    attempt = site.store.wait(run.id, timeout_s=0)
    renew = "update attempt set lease_until = now() + interval '30 s' where state = 'RUNNING'"

    def renewed_meanwhile(site, run, attempt):
        _changed(installation, renew)
        return attempt, Outcome.LAPSED

    monkeypatch.setattr(conclude, "_last_word", renewed_meanwhile)
    with pytest.raises(conclude.DriverCame):
        concluded(site, run, attempt, Outcome.LAPSED)
    assert site.store.get(run.id).detail is Detail.RUNNING
    stopping.end_driver(
        site.store, run, 1, backend_of=site.backend_of, within_s=0, clock=site.clock
    )


def test_a_broken_suite_is_met_before_the_job_starts(site, installation):
    (site.settings.include_dir / "expectations").mkdir(exist_ok=True)
    (site.settings.include_dir / "expectations/sales.yaml").write_text("tables: [")
    request = replace(sales_request(installation), expectations="sales")
    run = open_run(site, request, caller=CALLER)
    with pytest.raises(ConfigError, match="sales"):
        begin(site, run)
    assert starts(installation) == 0


def _changed(installation: Installation, statement: str) -> int:
    with installation.connect() as connection:
        return connection.execute(statement).rowcount


def test_a_request_with_a_secret_opens_no_run(site, installation):
    """It may come from Airflow's form, or from a DAG of somebody's own: nobody has checked it."""
    request = RunRequest(application="x.py", args=("--password", "hunter2"), backend="local")
    with pytest.raises(SecretInRequest, match="/args/1") as caught:
        open_run(site, request, caller=CALLER)
    assert "hunter2" not in str(caught.value)
    key = {"dag_id": CALLER.dag_id, "dag_run_id": CALLER.dag_run_id}
    assert site.store.find(**key) is None


class Away(PlainBackend):
    """A place that does not answer the first time."""

    answers = False

    def submit(self, context):
        if not self.answers:
            self.answers = True
            raise NotSubmitted("Nobody answers.", "Try again.")
        return super().submit(context)


def test_a_place_that_took_no_driver_is_asked_again_by_the_next_try(installation):
    site = site_of(installation, Away())
    request = sales_request(installation)
    with pytest.raises(Unavailable, match="Nobody answers"):
        carry_out(site, request)
    run = site.store.list(limit=1).items[0]
    assert (run.detail, run.failure.message) == (Detail.RETRY_WAIT, "Nobody answers.")
    done = carry_out(site, request)
    assert (done.run.detail, done.run.attempt) == (Detail.SUCCEEDED, 2)
    assert starts(installation) == 1


def test_a_place_that_took_no_driver_uses_up_no_retry(installation):
    site = site_of(installation, Away())
    app = installation.application("raise MemoryError")
    request = RunRequest(application=app, backend="local")
    twice = replace(CALLER, attempts=2)
    with pytest.raises(Unavailable, match="Nobody answers"):
        carry_out(site, request, caller=twice)
    second, third = (carry_out(site, request, caller=twice) for _ in range(2))
    assert (second.run.attempt, second.goes_on) == (2, True)
    assert (third.run.attempt, third.goes_on) == (3, False)


class WithoutPage(PlainBackend):
    """A place that is asked for the address of a driver's page, and breaks."""

    def ui_url(self, external_id):
        raise OSError("no answer")


def test_a_driver_whose_page_cannot_be_told_is_known_all_the_same(installation):
    site = site_of(installation, WithoutPage())
    done = carry_out(site, sales_request(installation))
    assert done.run.detail is Detail.SUCCEEDED
    [attempt] = site.store.attempts(done.run.id)
    assert attempt.external_id is not None


# --- the task is late ---------------------------------------------------------------------------


def concluded(site: Site, run: Run, attempt: AttemptState, why: Outcome) -> conclude.Conclusion:
    with Gate(None, lake=site.lake, include_dir=site.settings.include_dir) as gate:
        return conclude.conclude(site, run, attempt, why, caller=CALLER, gate=gate)


def test_a_driver_that_came_after_it_was_waited_for_goes_on(site, sleeping):
    run = started(site, sleeping)
    before = replace(site.store.wait(run.id, timeout_s=0), observed=Detail.SUBMITTED)
    with pytest.raises(conclude.DriverCame, match="heard of, late"):
        concluded(site, run, before, Outcome.UNCLAIMED)
    now = site.store.wait(run.id, timeout_s=0)
    assert (now.observed, site.store.get(run.id).detail) == (Detail.RUNNING, Detail.RUNNING)
    stop(site, run, within_s=5)


@pytest.mark.parametrize("why", [Outcome.UNCLAIMED, Outcome.LAPSED])
def test_a_driver_that_has_succeeded_after_it_was_waited_for_is_not_started_again(
    site, installation, why
):
    request = sales_request(installation)
    run = open_run(site, request, caller=CALLER)
    before = begin(site, run)
    assert site.store.wait(run.id, timeout_s=15).ended
    done = concluded(site, run, before, why)
    assert done.run.detail is Detail.SUCCEEDED
    assert (starts(installation), sales(installation)) == (1, [0, 1, 2])


class Silent(PlainBackend):
    """A place whose drivers never come."""

    def submit(self, context):
        return f"elsewhere:{context.grant.number}:1"


@pytest.mark.parametrize(
    ("observed", "why"),
    [
        (Detail.SUBMITTED, Outcome.UNCLAIMED),
        (Detail.RUNNING, Outcome.LAPSED),
        (Detail.RUNNING, Outcome.OVERDUE),
        (Detail.FAILED, Outcome.ENDED),
        (Detail.LOST, Outcome.ENDED),
        (Detail.SUCCEEDED, Outcome.ENDED),
    ],
)
def test_a_task_that_wakes_up_beside_a_newer_attempt_leaves_the_run_alone(
    installation, observed, why
):
    site = site_of(installation, Silent())
    request = sales_request(installation)
    run = open_run(site, request, caller=CALLER)
    older = replace(begin(site, run), observed=observed)
    site.store.finish(run.id, detail=Detail.RETRY_WAIT, now=site.clock())
    newer = begin(site, open_run(site, request, caller=CALLER))
    before = site.store.get(run.id)
    staged = [installation.lake / f".attempts/{a.attempt_id}/gold/sales" for a in (older, newer)]
    for folder in staged:
        folder.mkdir(parents=True)
        (folder / "part-0.parquet").touch()
    with pytest.raises(Conflict, match="at attempt 2, not 1"):
        concluded(site, before, older, why)
    assert site.store.get(run.id) == before
    assert site.store.attempt_state(newer.attempt_id) == newer
    assert [folder.exists() for folder in staged] == [False, True]


LAST_TRY = replace(CALLER, may_retry=False)


def abandoned_by(site: Site, run: Run, caller: Caller) -> None:
    error = OSError(28, "No space left on device")
    stopping.abandon(site.store, error, backend_of=site.backend_of, caller=caller, clock=site.clock)


def out_of_time(site: Site, run: Run, caller: Caller) -> None:
    stopping.time_out(
        site.store,
        run.id,
        backend_of=site.backend_of,
        within_s=1,
        caller=caller,
        clock=site.clock,
    )


@pytest.mark.parametrize(
    ("ends", "detail"), [(abandoned_by, Detail.FAILED), (out_of_time, Detail.TIMED_OUT)]
)
def test_a_try_that_was_cut_off_does_not_end_a_run_that_a_later_one_carries(
    site, sleeping, ends, detail
):
    run = started(site, sleeping)
    later = replace(LAST_TRY, task_try=2)
    assert begin(site, open_run(site, sleeping, caller=later)).number == 1
    before = site.store.get(run.id)
    ends(site, run, LAST_TRY)
    assert site.store.get(run.id) == before
    ends(site, run, later)
    assert site.store.get(run.id).detail is detail


def test_nor_does_it_when_the_later_one_comes_in_that_moment(site, sleeping):
    run = started(site, sleeping)
    attempt = site.store.wait(run.id, timeout_s=0)
    open_run(site, sleeping, caller=replace(CALLER, task_try=2))
    with pytest.raises(Conflict, match="Try 2 of the task"):
        concluded(site, run, attempt, Outcome.OVERDUE)
    assert site.store.get(run.id).detail is Detail.RUNNING
