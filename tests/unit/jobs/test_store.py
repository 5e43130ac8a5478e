from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest

from dataharbour.db.engine import connector
from dataharbour.errors import (
    ConfigError,
    Conflict,
    IdempotencyConflict,
    JobBusy,
    RunNotFound,
    Unavailable,
)
from dataharbour.jobs.model import (
    Desired,
    Detail,
    Failure,
    FailureClass,
    Occasion,
    Output,
    RunFilter,
    RunRequest,
    State,
    request_of,
)
from dataharbour.jobs.outcomes import UNCLAIMED
from dataharbour.jobs.store import RunStore

from .conftest import NOW

LATER = NOW + timedelta(minutes=1)
REQUEST = RunRequest(
    "job.py",
    args=("--to", "{output}"),
    conf={"spark.sql.shuffle.partitions": "4"},
    backend="local",
    labels={"team": "ops"},
    job="delays",
    params={"days": 7},
    timeout_s=60.0,
    outputs=(Output("gold/delays", ("month",)),),
    expectations="delays",
)


BY_ANA = {
    "application_sha256": "a" * 64,
    "principal": "ana",
    "dag_id": "job__delays",
    "dag_run_id": "api__1",
    "task_id": "run",
    "now": NOW,
}


def accept(store: RunStore, request: RunRequest = REQUEST, **changes):
    key = {"idempotency_key": "k1", "fingerprint": "f1"}
    return store.accept(request, **{**BY_ANA, **key, **changes})


def open_run(store: RunStore, request: RunRequest = REQUEST, **changes):
    return store.open_run(request, **{**BY_ANA, **changes})


@pytest.fixture
def driver(driver_database):
    """Calls a function of schema `driver` with a grant's id and token."""
    connection = psycopg.connect(driver_database, autocommit=True)

    def call(function: str, grant, *args):
        marks = ", ".join(["%s"] * (2 + len(args)))
        query = f"select driver.{function}({marks})"
        return connection.execute(query, [grant.attempt_id, grant.token, *args]).fetchone()[0]

    yield call
    connection.close()


# --- accepting ------------------------------------------------------------------------------


def test_a_run_is_read_back_as_it_was_requested(store):
    run, replayed = accept(store)
    assert not replayed
    assert store.get(run.id) == run
    for name in ("application", "args", "conf", "backend", "labels", "job", "params",
                 "timeout_s", "outputs", "expectations"):  # fmt: skip
        assert getattr(run, name) == getattr(REQUEST, name)
    assert (run.detail, run.state, run.desired) == (
        Detail.ACCEPTED, State.QUEUED, Desired.SUCCEEDED
    )  # fmt: skip
    assert (run.version, run.attempt, run.created_at, run.started_at) == (1, 0, NOW, None)


def test_the_same_key_gives_the_same_run(store):
    first, _ = accept(store)
    again, replayed = accept(store, now=LATER)
    assert replayed
    assert again == first


def test_the_same_key_with_another_body_is_refused(store):
    first, _ = accept(store)
    with pytest.raises(IdempotencyConflict, match=str(first.id)):
        accept(store, fingerprint="f2")


def test_keys_of_different_principals_never_meet(store):
    first, _ = accept(store)
    other, replayed = accept(store, principal="bob", dag_run_id="api__2", fingerprint="f2")
    assert not replayed
    assert other.id != first.id


def test_a_hundred_equal_requests_at_once_make_one_run(store):
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: accept(store), range(100)))
    assert len({run.id for run, _ in answers}) == 1
    assert sum(not replayed for _, replayed in answers) == 1


def test_a_run_that_airflow_refused_can_be_accepted_again(store):
    first, _ = accept(store)
    store.discard(first.id)
    with pytest.raises(RunNotFound):
        store.get(first.id)
    second, replayed = accept(store)
    assert not replayed
    assert second.id != first.id


def test_a_run_that_airflow_took_cannot_be_discarded(store):
    run, _ = accept(store)
    store.queued(run.id, now=LATER)
    with pytest.raises(Conflict, match="QUEUED"):
        store.discard(run.id)


def test_queued_comes_too_late_when_the_task_was_faster(store):
    run, _ = accept(store)
    store.start_attempt(open_run(store).id, backend="local", now=NOW)
    assert store.queued(run.id, now=LATER).detail is Detail.SUBMITTING


def test_a_discarded_run_that_airflow_took_after_all_is_found_by_its_key(store):
    run, _ = accept(store)
    store.discard(run.id)
    opened = open_run(store)  # the answer was lost, not the DAG run
    again, replayed = accept(store)
    assert replayed
    assert again.id == opened.id
    with pytest.raises(IdempotencyConflict):
        accept(store, fingerprint="f2")


# --- the operator opens it -------------------------------------------------------------------


def test_the_operator_finds_the_accepted_run(store):
    run, _ = accept(store)
    assert open_run(store).id == run.id


def test_a_run_without_the_api_is_made_by_the_operator(store):
    run = open_run(store, dag_run_id="scheduled__1")
    assert run.detail is Detail.QUEUED
    assert open_run(store, dag_run_id="scheduled__1").id == run.id
    assert open_run(store, dag_run_id="scheduled__1", map_index=3).id != run.id


def test_a_run_that_was_cancelled_while_it_waited_is_told_to_its_task(store):
    run, _ = accept(store)
    store.queued(run.id, now=NOW)
    assert store.cancel(run.id, now=LATER).detail is Detail.CANCELLED
    for _ in range(2):  # the task's process may be killed before it can say so
        told = open_run(store, clears=2)
        assert (told.id, told.detail, told.clears) == (run.id, Detail.CANCELLED, 2)
    cleared = open_run(store, clears=3)
    assert cleared.id != run.id
    assert (cleared.retry_of, cleared.detail, cleared.clears) == (run.id, Detail.QUEUED, None)
    assert open_run(store, clears=3).id == cleared.id


def test_a_key_goes_on_to_the_run_that_a_clear_makes(store):
    first, _ = accept(store)
    store.cancel(first.id, now=LATER)
    open_run(store, clears=0)
    cleared = open_run(store, clears=1)
    assert cleared.retry_of == first.id
    again, replayed = accept(store)
    assert (again.id, replayed) == (cleared.id, True)
    with pytest.raises(IdempotencyConflict):
        accept(store, fingerprint="f2")


def test_a_finished_task_that_was_cleared_gets_a_new_run(store):
    run = open_run(store)
    store.finish(run.id, detail=Detail.FAILED, clears=0, now=LATER)
    assert open_run(store).id == run.id
    again = open_run(store, clears=1)
    assert again.retry_of == run.id
    assert store.get(run.id).detail is Detail.FAILED
    assert store.find(dag_id="job__delays", dag_run_id="api__1", task_id="run").id == again.id


def test_an_ended_run_can_be_replaced_but_not_a_living_one(store):
    run = open_run(store)
    assert open_run(store, instead_of=run.id).id == run.id
    store.cancel(run.id, now=LATER)
    assert open_run(store, instead_of=run.id).retry_of == run.id


# --- attempts --------------------------------------------------------------------------------


def test_each_attempt_fences_the_one_before(store, driver):
    run = open_run(store)
    first = store.start_attempt(run.id, backend="local", now=NOW)
    second = store.start_attempt(run.id, backend="local", now=LATER)
    assert (first.number, second.number) == (1, 2)
    assert first.fence < second.fence
    assert first.token != second.token
    assert driver("claim", first, "h") is False
    assert driver("claim", second, "h") is True
    assert store.attempt_state(first.attempt_id).observed is Detail.LOST


def test_the_token_is_not_in_the_database(store, database):
    grant = store.start_attempt(open_run(store).id, backend="local", now=NOW)
    assert grant.token not in repr(grant)
    with psycopg.connect(database) as admin:
        rows = admin.execute("select a::text from attempt a").fetchall()
        rows += admin.execute("select e::text from event e").fetchall()
    assert not any(grant.token in text for (text,) in rows)


def test_a_living_driver_cannot_be_overtaken(store, driver, database):
    run = open_run(store)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    driver("claim", grant, "host:1")
    store.finish(run.id, detail=Detail.RETRY_WAIT, now=LATER)
    with pytest.raises(Unavailable, match=r"Attempt 1 .* is alive \(host:1"):
        store.start_attempt(run.id, backend="local", now=LATER)
    with psycopg.connect(database) as admin:
        admin.execute("update attempt set lease_until = now() - interval '1 second'")
    assert store.start_attempt(run.id, backend="local", now=LATER).number == 2


def test_a_run_that_shall_be_cancelled_gets_no_driver(store, driver):
    run = open_run(store)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    driver("claim", grant, "h")
    assert store.cancel(run.id, now=LATER).detail is Detail.CANCELLING
    with pytest.raises(Conflict, match="shall be cancelled"):
        store.start_attempt(run.id, backend="local", now=LATER)
    assert store.attempt_state(grant.attempt_id).desired is Desired.CANCELLED


def test_a_run_whose_driver_has_not_claimed_is_cancelled_at_once(store, driver):
    run = open_run(store)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    ended = store.cancel(run.id, now=LATER)
    assert (ended.detail, ended.ended_at) == (Detail.CANCELLED, LATER)
    assert driver("claim", grant, "h") is False
    state = store.wait(run.id, timeout_s=20)  # returns at once
    assert state.observed is Detail.CANCELLED
    assert store.get(run.id).started_at is None


def test_a_driver_that_claims_a_run_that_shall_stop_ends_its_attempt(store, driver):
    run = open_run(store)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    store.stop_driver(run.id, now=LATER)
    assert driver("claim", grant, "h") is False
    assert store.wait(run.id, timeout_s=20).failure.message == "Cancelled before it started."


def test_a_run_that_is_being_published_is_not_cancelled(store, driver):
    run = open_run(store)
    driver("claim", store.start_attempt(run.id, backend="local", now=NOW), "h")
    store.finalizing(run.id, LATER)
    with pytest.raises(Conflict, match="too late to cancel"):
        store.cancel(run.id, now=LATER)
    assert store.get(run.id).desired is Desired.SUCCEEDED


def test_a_driver_that_was_given_up_may_do_nothing_more(store, driver):
    run = open_run(store)
    claimed = store.start_attempt(run.id, backend="local", now=NOW)
    driver("claim", claimed, "h")
    store.lost(run.id, now=LATER)
    store.give_up(run.id, now=LATER)
    assert driver("renew", claimed) is None
    assert driver("finish", claimed, "SUCCEEDED", 0, None, None) is False
    with pytest.raises(Conflict, match="may not publish"), store.publishing(claimed.attempt_id):
        pass
    state = store.wait(run.id, timeout_s=20)  # it is still the newest: what became of it is known
    assert (state.attempt_id, state.observed) == (claimed.attempt_id, Detail.LOST)
    assert store.start_attempt(run.id, backend="local", now=LATER).number == 2


def test_a_driver_that_was_given_up_before_its_claim_never_claims(store, driver):
    run = open_run(store)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    store.give_up(run.id, now=LATER)
    assert driver("claim", grant, "h") is False


def test_a_driver_that_came_after_all_is_not_given_up_as_one_that_never_did(store, driver):
    run = open_run(store)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    assert driver("claim", grant, "h")
    assert not store.give_up(run.id, attempt=1, only_if=UNCLAIMED, now=LATER)
    assert driver("finish", grant, "SUCCEEDED", 0, None, None)
    assert not store.give_up(run.id, only_if=[Detail.RUNNING], now=LATER)
    assert store.attempt_state(grant.attempt_id).observed is Detail.SUCCEEDED


def test_a_driver_that_never_came_is_given_up(store, driver):
    run = open_run(store)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    assert store.give_up(run.id, attempt=1, only_if=UNCLAIMED, now=LATER)
    assert driver("claim", grant, "h") is False


@pytest.mark.parametrize(
    "act",
    [
        lambda store, run: store.finalizing(run, LATER, attempt=1),
        lambda store, run: store.lost(run, attempt=1, now=LATER),
        lambda store, run: store.finish(run, detail=Detail.FAILED, attempt=1, now=LATER),
        lambda store, run: store.finish(run, detail=Detail.RETRY_WAIT, attempt=1, now=LATER),
        lambda store, run: store.stop_driver(run, attempt=1, now=LATER),
        lambda store, run: store.give_up(run, attempt=1, now=LATER),
    ],
    ids=["finalizing", "lost", "finish", "retry", "stop_driver", "give_up"],
)
def test_who_has_judged_an_older_attempt_changes_nothing(store, driver, act):
    run = open_run(store)
    store.start_attempt(run.id, backend="local", now=NOW)
    newer = store.start_attempt(run.id, backend="local", now=NOW)
    assert driver("claim", newer, "h")
    before = store.get(run.id)
    with pytest.raises(Conflict, match="at attempt 2, not 1"):
        act(store, run.id)
    assert store.get(run.id) == before
    assert driver("renew", newer) == "SUCCEEDED"


def test_the_page_of_a_driver_may_be_told_later(store):
    run = open_run(store)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    store.submitted(grant.attempt_id, external_id="h:1:2", now=NOW)
    store.submitted(grant.attempt_id, external_id="h:1:2", ui_url="http://h:4040", now=LATER)
    state = store.attempt_state(grant.attempt_id)
    assert (state.external_id, state.ui_url) == ("h:1:2", "http://h:4040")
    assert store.attempts(run.id)[0].submitted_at == NOW


def test_a_driver_that_claims_before_the_submitter_comes_back_is_running(store, driver):
    run = open_run(store)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    assert driver("claim", grant, "h")
    store.submitted(grant.attempt_id, external_id="h:1:2", now=LATER)
    state = store.attempt_state(grant.attempt_id)
    assert (state.observed, state.external_id) == (Detail.RUNNING, "h:1:2")
    assert store.get(run.id).detail is Detail.RUNNING


def test_submitted_is_shown_until_the_claim(store):
    run = open_run(store)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    store.submitted(grant.attempt_id, external_id="h:1:2", now=LATER)
    assert store.get(run.id).detail is Detail.SUBMITTED


def test_an_unknown_attempt_is_told(store):
    for call in (
        lambda: store.attempt_state(uuid4()),
        lambda: store.submitted(uuid4(), external_id="x", now=NOW),
        lambda: store.publishing(uuid4()).__enter__(),
    ):
        with pytest.raises(RunNotFound):
            call()


@contextmanager
def later(seconds: float, call, *args):
    """Calls in another thread, and sees it end: connections are closed after this."""
    timer = threading.Timer(seconds, call, args)
    timer.start()
    yield
    timer.join()


# --- waiting ---------------------------------------------------------------------------------


def test_waiting_ends_at_once_with_the_attempt(store, driver):
    run = open_run(store)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    driver("claim", grant, "h")
    started = time.monotonic()
    with later(0.5, driver, "finish", grant, "SUCCEEDED", 0, None, None):
        assert store.wait(run.id, timeout_s=20).observed is Detail.SUCCEEDED
    assert 0.4 < time.monotonic() - started < 10


def test_waiting_ends_when_the_time_is_over(store):
    run = open_run(store)
    store.start_attempt(run.id, backend="local", now=NOW)
    started = time.monotonic()
    state = store.wait(run.id, timeout_s=0.3)
    assert not state.ended
    assert not state.lapsed
    assert 0.25 < time.monotonic() - started < 10


def test_waiting_ends_when_the_lease_lapses(store, driver, database):
    run = open_run(store)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    driver("claim", grant, "h")
    with psycopg.connect(database) as admin:
        admin.execute("update attempt set lease_until = clock_timestamp() + interval '0.5 s'")
    started = time.monotonic()
    state = store.wait(run.id, timeout_s=20)
    assert state.lapsed
    assert not state.ended
    assert time.monotonic() - started < 10


def test_waiting_asks_the_database_once_while_nothing_happens(store, database):
    run = open_run(store)
    store.start_attempt(run.id, backend="local", now=NOW)
    asked = []

    def connect():
        connection = connector(database)()
        execute = connection.cursor
        connection.cursor = lambda *a, **k: asked.append(1) or execute(*a, **k)
        return connection

    waiting = RunStore(connect)
    other = open_run(store, dag_run_id="another")
    with later(0.2, lambda: store.cancel(other.id, now=LATER)):
        waiting.wait(run.id, timeout_s=1)
    assert len(asked) <= 6  # set-up, one look at each end: no polling in between


def test_a_run_without_attempt_cannot_be_waited_for(store):
    with pytest.raises(RunNotFound, match="has no attempt"):
        store.wait(open_run(store).id, timeout_s=1)


# --- the end ---------------------------------------------------------------------------------


def running(store, driver, **changes):
    run = open_run(store, **changes)
    grant = store.start_attempt(run.id, backend="local", now=NOW)
    assert driver("claim", grant, "h")
    return store.get(run.id), grant


def test_a_run_that_succeeds_has_a_result_and_a_duration(store, driver):
    run, grant = running(store, driver)
    driver("finish", grant, "SUCCEEDED", 0, None, None)
    assert store.finalizing(run.id, LATER).detail is Detail.FINALIZING
    end = run.started_at + timedelta(seconds=3)
    done = store.finish(run.id, detail=Detail.SUCCEEDED, result={"rows": 16}, now=end)
    assert (done.state, done.result, done.duration_s) == (State.SUCCEEDED, {"rows": 16}, 3.0)


def test_to_finish_twice_the_same_way_changes_nothing(store, driver):
    run, _ = running(store, driver)
    failure = Failure(FailureClass.USER_ERROR, "KeyError: 'k'")
    first = store.finish(run.id, detail=Detail.FAILED, failure=failure, now=LATER)
    assert store.finish(run.id, detail=Detail.FAILED, now=NOW) == first
    with pytest.raises(Conflict, match="FAILED and stays so"):
        store.finish(run.id, detail=Detail.SUCCEEDED, now=LATER)


def test_a_task_that_hears_of_an_end_later_is_noted_and_that_is_no_change_of_the_run(store):
    run = open_run(store)
    ended = store.finish(run.id, detail=Detail.FAILED, now=LATER)
    events = store.events(run.id)
    told = store.finish(run.id, detail=Detail.FAILED, clears=4, now=LATER)
    assert (ended.clears, told.clears) == (None, 4)
    assert (told.version, store.events(run.id)) == (ended.version, events)


def test_a_run_that_goes_on_was_told_to_nobody(store, driver):
    run, _ = running(store, driver)
    for _ in range(2):
        waits = store.finish(run.id, detail=Detail.RETRY_WAIT, clears=1, now=LATER)
        assert waits.clears is None


def test_the_database_itself_keeps_ends_final(store, driver, database):
    run, _ = running(store, driver)
    store.finish(run.id, detail=Detail.FAILED, now=LATER)
    with psycopg.connect(database) as admin, pytest.raises(psycopg.errors.CheckViolation):
        admin.execute("update run set detail = 'RUNNING' where id = %s", [run.id])


def test_a_run_waits_for_its_next_try(store, driver):
    run, grant = running(store, driver)
    driver("finish", grant, "FAILED", 1, "INFRA", "gone")
    failure = Failure(FailureClass.INFRA, "gone")
    waits = store.finish(run.id, detail=Detail.RETRY_WAIT, failure=failure, now=LATER)
    assert (waits.state, waits.ended_at) == (State.QUEUED, None)
    assert store.start_attempt(run.id, backend="local", now=LATER).number == 2


def test_a_run_does_not_finish_as_something_else(store):
    with pytest.raises(ValueError, match="does not finish as RUNNING"):
        store.finish(open_run(store).id, detail=Detail.RUNNING, now=NOW)


def test_a_lost_run_comes_back_with_a_sign_of_life(store, driver):
    run, grant = running(store, driver)
    assert store.lost(run.id, now=LATER).state is State.LOST
    assert driver("renew", grant) == "SUCCEEDED"
    assert store.get(run.id).detail is Detail.RUNNING


def test_to_cancel_twice_is_to_cancel_once(store, driver):
    run, _ = running(store, driver)
    first = store.cancel(run.id, now=LATER)
    assert store.cancel(run.id, now=LATER) == first
    done = store.finish(run.id, detail=Detail.CANCELLED, now=LATER)
    assert store.cancel(run.id, now=LATER) == done


def test_a_run_that_was_cancelled_before_its_publication_is_not_published(store, driver):
    run, grant = running(store, driver)
    driver("finish", grant, "SUCCEEDED", 0, None, None)
    cancelled = store.cancel(run.id, now=LATER)
    assert store.finalizing(run.id, LATER) == cancelled
    with pytest.raises(Conflict, match="CANCELLING cannot become SUCCEEDED"):
        store.finish(run.id, detail=Detail.SUCCEEDED, now=LATER)
    assert store.finish(run.id, detail=Detail.CANCELLED, now=LATER).state is State.CANCELLED


@pytest.mark.parametrize("end", ["CANCELLED", "FAILED", "TIMED_OUT"])
def test_a_run_that_shall_be_cancelled_ends_with_its_driver_though_nobody_waits(store, driver, end):
    run, grant = running(store, driver)
    store.cancel(run.id, now=LATER)
    assert driver("finish", grant, end, 143, "INFRA", "stopped")
    ended = store.get(run.id)
    assert ended.detail is Detail.CANCELLED
    assert ended.failure == Failure(FailureClass.CANCELLED, "Cancelled while it ran.")
    assert ended.ended_at is not None
    assert ended.clears is None
    assert store.attempt_state(grant.attempt_id).observed == end
    last = [e for e in store.events(run.id) if e.kind == "run.changed"][-1]
    assert (last.old, last.new, last.actor) == ("CANCELLING", "CANCELLED", "driver")
    assert store.finish(run.id, detail=Detail.CANCELLED, now=LATER) == ended


def test_a_lost_driver_that_comes_back_ends_its_cancelled_run(store, driver):
    run, grant = running(store, driver)
    store.cancel(run.id, now=LATER)
    store.lost(run.id, now=LATER)
    assert driver("finish", grant, "CANCELLED", 143, "CANCELLED", "x")
    assert store.get(run.id).detail is Detail.CANCELLED


def test_a_driver_that_succeeds_leaves_its_run_to_the_task(store, driver):
    run, grant = running(store, driver)
    store.cancel(run.id, now=LATER)
    assert driver("finish", grant, "SUCCEEDED", 0, None, None)
    assert store.get(run.id).detail is Detail.CANCELLING


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("end", ["CANCELLED", "FAILED", "TIMED_OUT"])
def test_a_driver_ends_no_run_that_nobody_cancelled(store, driver, end, lost):
    run, grant = running(store, driver)
    if lost:
        store.lost(run.id, now=LATER)
    assert driver("finish", grant, end, 1, "INFRA", "x")
    assert store.get(run.id).detail is Detail.RUNNING


def test_a_driver_can_be_stopped_without_saying_how_the_run_ends(store, driver):
    run, grant = running(store, driver)
    store.stop_driver(run.id, now=LATER)
    assert driver("renew", grant) == "CANCELLED"
    assert driver("finish", grant, "CANCELLED", 143, "CANCELLED", "x")
    assert store.get(run.id).detail is Detail.RUNNING
    ended = store.finish(run.id, detail=Detail.TIMED_OUT, now=LATER)
    store.stop_driver(run.id, now=LATER)
    assert store.get(run.id) == ended


# --- publishing ------------------------------------------------------------------------------


def test_only_the_newest_attempt_may_publish(store, driver):
    run, first = running(store, driver)
    driver("finish", first, "FAILED", 1, "INFRA", "x")
    store.finish(run.id, detail=Detail.RETRY_WAIT, now=LATER)
    second = store.start_attempt(run.id, backend="local", now=LATER)
    with pytest.raises(Conflict, match="a newer attempt exists"):
        store.publishing(first.attempt_id).__enter__()
    with store.publishing(second.attempt_id) as check:
        check()


def test_no_attempt_can_start_while_one_is_published(store, driver):
    run, grant = running(store, driver)
    driver("finish", grant, "SUCCEEDED", 0, None, None)
    store.finish(run.id, detail=Detail.RETRY_WAIT, now=LATER)
    order: list[str] = []

    def start() -> None:
        store.start_attempt(run.id, backend="local", now=LATER)
        order.append("started")

    thread = threading.Thread(target=start)
    with store.publishing(grant.attempt_id) as check:
        thread.start()
        time.sleep(0.5)
        check()
        order.append("published")
    thread.join(10)
    assert order == ["published", "started"]


def test_a_lost_connection_ends_the_right_to_publish(store, driver, database):
    _, grant = running(store, driver)
    with store.publishing(grant.attempt_id) as check:
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'dataharbour'"
            )
        with pytest.raises(Conflict, match="lost with the database connection"):
            check()


def test_an_ended_run_publishes_nothing(store, driver):
    run, grant = running(store, driver)
    store.finish(run.id, detail=Detail.FAILED, now=LATER)
    with pytest.raises(Conflict, match="its run has ended"):
        store.publishing(grant.attempt_id).__enter__()


# --- events ----------------------------------------------------------------------------------


def test_every_change_is_an_event_with_its_actor(store, driver):
    run, _ = accept(store)
    store.queued(run.id, now=NOW)
    run, grant = running(store, driver)
    driver("finish", grant, "SUCCEEDED", 0, None, None)
    store.finish(run.id, detail=Detail.SUCCEEDED, now=LATER)
    changes = [(e.old, e.new, e.actor) for e in store.events(run.id) if e.kind == "run.changed"]
    assert changes == [
        (None, "ACCEPTED", "test"),
        ("ACCEPTED", "QUEUED", "test"),
        ("QUEUED", "SUBMITTING", "test"),
        ("SUBMITTING", "RUNNING", "driver"),
        ("RUNNING", "SUCCEEDED", "test"),
    ]
    versions = [e.data["version"] for e in store.events(run.id) if e.kind == "run.changed"]
    assert versions == [1, 2, 3, 4, 5]
    assert versions[-1] == store.get(run.id).version


def test_a_failure_is_told_in_its_event_by_its_first_line(store, driver):
    run, _ = running(store, driver)
    failure = Failure(FailureClass.USER_ERROR, "KeyError: 'k'\nTraceback")
    store.finish(run.id, detail=Detail.FAILED, failure=failure, now=LATER)
    assert store.events(run.id)[-1].data["failure"] == "KeyError: 'k'"


def test_a_discarded_run_leaves_its_events(store, database):
    run, _ = accept(store)
    store.discard(run.id)
    with psycopg.connect(database) as admin:
        kinds = admin.execute("select kind from event where run_id = %s order by id", [run.id])
        assert [kind for (kind,) in kinds] == ["run.changed", "run.discarded"]


@pytest.mark.parametrize(
    "statement",
    ["delete from event", "update event set new = 'x'", "truncate event"],
)
def test_history_is_written_once(store, database, statement):
    accept(store)
    with (
        psycopg.connect(database) as admin,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
    ):
        admin.execute(statement)


# --- lists -----------------------------------------------------------------------------------


@pytest.fixture
def many(store):
    runs = [
        open_run(
            store,
            RunRequest("a.py", job=f"job{i % 2}", labels={"n": str(i % 3), "x": "y"}),
            dag_run_id=f"r{i}",
            dag_id=f"job__job{i % 2}",
        )
        for i in range(7)
    ]
    store.finish(runs[0].id, detail=Detail.FAILED, now=LATER)
    return [run.id for run in runs]


def ids(page):
    return [run.id for run in page.items]


def test_runs_are_listed_newest_first_page_by_page(store, many):
    seen, cursor = [], None
    while True:
        page = store.list(limit=3, cursor=cursor)
        seen += ids(page)
        if page.next is None:
            break
        cursor = page.next
    assert seen == many[::-1]


def test_a_full_last_page_has_no_next(store, many):
    assert store.list(limit=7).next is None
    assert store.list(limit=6).next is not None


def test_runs_are_filtered(store, many):
    assert ids(store.list(RunFilter(state=State.FAILED), limit=9)) == [many[0]]
    assert ids(store.list(RunFilter(job="job1"), limit=9)) == many[5::-2]
    assert ids(store.list(RunFilter(labels={"n": "1", "x": "y"}), limit=9)) == [many[4], many[1]]
    assert (
        ids(store.list(RunFilter(dag_ids=["job__job0"], state=State.QUEUED), limit=9))
        == many[6:1:-2]
    )
    assert ids(store.list(RunFilter(dag_ids=[]), limit=9)) == []
    assert ids(store.list(RunFilter(job="job0"), limit=2, cursor=str(many[6]))) == [
        many[4],
        many[2],
    ]


@pytest.mark.parametrize("cursor", ["x", "' or 1=1 --", "", "1"])
def test_a_foreign_cursor_is_refused(store, cursor):
    with pytest.raises(ConfigError, match="cursor"):
        store.list(limit=1, cursor=cursor)


def test_a_missing_run_is_told(store):
    for call in (store.get, store.events, store.logs):
        with pytest.raises(RunNotFound):
            call(uuid4())
    assert store.find(dag_id="x", dag_run_id="y") is None


# --- logs ------------------------------------------------------------------------------------


def write(driver, grant, first: int, *texts: str):
    lines = [[1_700_000_000.5, "stdout", text] for text in texts]
    return driver("log", grant, first, psycopg.types.json.Jsonb(lines))


def texts(page):
    return [line.line for line in page.items]


def test_logs_are_read_page_by_page_without_gap_or_repeat(store, driver):
    run, grant = running(store, driver)
    assert write(driver, grant, 1, "1", "2", "3") == 4
    assert write(driver, grant, 4, "4") == 5
    assert write(driver, grant, 5, *map(str, range(5, 12))) == 12
    for limit in range(1, 13):
        seen, cursor = [], None
        for _ in range(12):  # one line a page at least
            page = store.logs(run.id, cursor=cursor, limit=limit)
            assert len(page.items) <= limit
            seen += texts(page)
            cursor = page.next
        assert seen == [str(n) for n in range(1, 12)]
        assert not page.complete


def test_a_log_is_complete_when_the_run_has_ended_and_all_is_read(store, driver):
    run, grant = running(store, driver)
    write(driver, grant, 1, "a", "b")
    page = store.logs(run.id)
    assert (page.complete, page.next) == (False, "1.2")
    driver("finish", grant, "SUCCEEDED", 0, None, None)
    store.finish(run.id, detail=Detail.SUCCEEDED, now=LATER)
    assert store.logs(run.id, limit=1).complete is False
    end = store.logs(run.id, cursor=page.next)
    assert (end.items, end.next, end.complete) == ([], None, True)


def test_logs_of_all_attempts_follow_each_other(store, driver):
    run, first = running(store, driver)
    write(driver, first, 1, "first 1", "first 2")
    driver("finish", first, "FAILED", 1, "INFRA", "x")
    store.finish(run.id, detail=Detail.RETRY_WAIT, now=LATER)
    second = store.start_attempt(run.id, backend="local", now=LATER)
    driver("claim", second, "h")
    write(driver, second, 1, "second 1")
    page = store.logs(run.id, limit=2)
    assert texts(page) == ["first 1", "first 2"]
    assert texts(store.logs(run.id, cursor=page.next)) == ["second 1"]


def test_lines_carry_their_time_and_stream(store, driver):
    run, grant = running(store, driver)
    write(driver, grant, 1, "x")
    (line,) = store.logs(run.id).items
    assert (line.at.isoformat(), line.stream) == ("2023-11-14T22:13:20.500000+00:00", "stdout")


def test_a_run_without_lines_has_an_empty_log(store):
    run = open_run(store)
    page = store.logs(run.id)
    assert (page.items, page.complete) == ([], False)
    assert store.logs(run.id, cursor=page.next) == page


@pytest.mark.parametrize("cursor", ["", "1", "1.", "a.b", "1.2.3", "-1.2", "1.2 ", "١.٢"])
def test_a_foreign_log_cursor_is_refused(store, cursor):
    run = open_run(store)
    with pytest.raises(ConfigError, match="cursor"):
        store.logs(run.id, cursor=cursor)


def test_of_runs_that_begin_at_once_only_as_many_start_as_may_be_active(store):
    runs = [accept(store, dag_run_id=f"api__{n}", idempotency_key=f"k{n}")[0] for n in range(6)]
    gate = threading.Barrier(len(runs))

    def begin(run):
        gate.wait()
        try:
            return store.start_attempt(run.id, backend="local", at_most=2, now=NOW)
        except JobBusy as busy:
            return busy.problem

    with ThreadPoolExecutor(len(runs)) as pool:
        done = list(pool.map(begin, runs))
    refused = [problem for problem in done if isinstance(problem, str)]
    assert len(refused) == 4
    assert "2 of at most 2 runs of delays are active" in refused[0]


def test_a_run_that_has_been_started_is_not_held_up_by_others_of_its_job(store):
    first, second = (
        accept(store, dag_run_id=f"api__{n}", idempotency_key=f"k{n}")[0] for n in (1, 2)
    )
    store.start_attempt(first.id, backend="local", at_most=1, now=NOW)
    with pytest.raises(JobBusy):
        store.start_attempt(second.id, backend="local", at_most=1, now=NOW)
    store.start_attempt(second.id, backend="local", now=NOW)
    assert store.start_attempt(first.id, backend="local", at_most=1, now=NOW).number == 2


def test_other_jobs_do_not_make_a_job_busy(store):
    other = replace(REQUEST, job="other")
    for n, request in enumerate((REQUEST, other)):
        run, _ = accept(store, request, dag_run_id=f"api__{n}", idempotency_key=f"k{n}")
        assert store.start_attempt(run.id, backend="local", at_most=1, now=NOW).number == 1


def test_a_missed_deadline_is_one_event_however_often_it_is_told(store):
    run, _ = accept(store)
    missed = {"dag_id": run.dag_id, "job": "delays", "due": NOW, "now": LATER}
    for _ in range(2):
        store.deadline_missed(dag_run_id=run.dag_run_id, deadline_id="d1", **missed)
    events = [e for e in store.events(run.id) if e.kind == "run.deadline_missed"]
    assert [(e.actor, e.data["deadline_id"], e.data["job"]) for e in events] == [
        ("airflow", "d1", "delays")
    ]
    store.deadline_missed(dag_run_id="scheduled__not_begun", deadline_id="d2", **missed)


def test_a_run_keeps_what_it_is_for(store):
    occasion = Occasion(NOW, NOW, LATER, partition_key="2026-11", timezone="Europe/Zurich")
    run, _ = accept(store, replace(REQUEST, occasion=occasion))
    assert store.get(run.id).occasion == occasion
    assert request_of(run).occasion == occasion
