from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dataharbour.jobs.backends.start import driver_is_alive
from dataharbour.jobs.follow import LogTail, ProgressReport, follow, progress_text, tail_of
from dataharbour.jobs.model import Detail
from dataharbour.jobs.outcomes import Outcome, patience

from .conftest import NOW


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def tail(store, lines):
    def of(driver, *, lines_left=100, cursor=None):
        attempt = store.wait(driver.grant.run_id, timeout_s=0)
        return LogTail(
            store,
            driver.grant.run_id,
            cursor=cursor or tail_of(attempt),
            lines_left=lines_left,
            emit=lines.append,
        )

    return of


def watch(store, driver, tail, *, seconds, is_alive=driver_is_alive):
    wait = patience(claim_within_s=60, timeout_s=None, now=time.time())
    return follow(
        store,
        driver.grant.run_id,
        patience=wait,
        seconds=seconds,
        tail=tail,
        report=lambda _: None,
        is_alive=is_alive,
    )


def test_every_line_is_passed_on_once_while_the_driver_runs(store, launch, tail, lines):
    driver = launch("""
        import time
        for number in range(5):
            print("line", number, flush=True)
            time.sleep(0.3)
    """)
    _, outcome = watch(store, driver, tail(driver), seconds=20)
    assert outcome is Outcome.ENDED
    assert lines == [f"line {number}" for number in range(5)]


def test_the_wait_is_over_in_time_and_goes_on_where_it_stopped(store, launch, tail, lines):
    driver = launch("""
        import time
        print("early", flush=True)
        time.sleep(2.5)
        print("late")
    """)
    first = tail(driver)
    began = time.monotonic()
    _, outcome = watch(store, driver, first, seconds=1.5)
    assert outcome is None
    assert time.monotonic() - began < 2.2
    assert lines == ["early"]
    second = tail(driver, cursor=first.cursor)
    assert watch(store, driver, second, seconds=20)[1] is Outcome.ENDED
    assert lines == ["early", "late"]


def test_the_limit_is_said_and_kept(store, launch, tail, lines):
    driver = launch("for number in range(1_000): print(number)")
    driver.end()
    short = tail(driver, lines_left=10)
    short.pull()
    short.pull()
    assert lines[:10] == [str(number) for number in range(10)]
    assert len(lines) == 11
    assert "Driver log" in lines[10]


def test_only_the_newest_attempt_is_passed_on(store, launch, tail, lines):
    first = launch("print('first'); raise SystemExit(1)")
    first.end()
    run = store.get(first.grant.run_id)
    store.finish(run.id, detail=Detail.RETRY_WAIT, now=run.created_at)
    grant = store.start_attempt(run.id, backend="plain", now=run.created_at)
    second = launch("print('second')", grant=grant)
    second.end()
    tail(second).pull()
    assert lines == ["second"]


def test_progress_is_told_when_it_is_news(store, launch):
    said: list[str] = []
    driver = launch("pass")
    attempt = replace(driver.end(), progress={"stages_done": 1, "stages": 4})
    report = ProgressReport(since=time.time() - 12, emit=said.append)
    report(attempt)
    report(attempt)
    report(replace(attempt, progress={"stages_done": 2, "stages": 4}))
    assert said == ["12 s: stages 1/4, tasks ?/?"], "the second is news, but too soon"


def test_progress_reads_as_one_line():
    progress = {"stages_done": 1, "stages": 4, "tasks_done": 9, "tasks": 40}
    assert progress_text(progress, elapsed_s=12.3) == "12 s: stages 1/4, tasks 9/40"
    with_rows = progress | {"rows_read": 336776, "rows_written": 16}
    assert progress_text(with_rows, elapsed_s=12.3) == (
        "12 s: stages 1/4, tasks 9/40, 336,776 rows read, 16 rows written"
    )


def test_a_driver_that_its_backend_calls_dead_before_the_claim_is_not_waited_for(
    store, new_run, tail, lines
):
    run = new_run()
    grant = store.start_attempt(run.id, backend="standalone", now=NOW)
    store.submitted(grant.attempt_id, external_id="driver-1", now=NOW)
    driver = SimpleNamespace(grant=grant)
    asked: list[str] = []
    _, why = watch(store, driver, tail(driver), seconds=1, is_alive=lambda id: asked.append(id))
    assert why is None, "nobody can tell"
    assert set(asked) == {"driver-1"}
    _, why = watch(store, driver, tail(driver), seconds=20, is_alive=lambda _: False)
    assert why is Outcome.UNCLAIMED
