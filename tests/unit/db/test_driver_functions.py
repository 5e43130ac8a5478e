"""What a driver may say to the database, and what it may not."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from dataharbour.db.engine import connector
from dataharbour.jobs.model import Detail, RunRequest
from dataharbour.jobs.store import RunStore

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LINES = [[1.0, "stdout", "x"]]


@pytest.fixture
def store(database):
    return RunStore(connector(database))


@pytest.fixture
def new_grant(store):
    numbers = iter(range(100))

    def make():
        run = store.open_run(
            RunRequest("a.py"), application_sha256="", dag_id="d", dag_run_id=f"r{next(numbers)}",
            task_id="t", principal="p", now=NOW,
        )  # fmt: skip
        return store.start_attempt(run.id, backend="local", now=NOW)

    return make


@pytest.fixture
def call(driver_database):
    connection = psycopg.connect(driver_database, autocommit=True)

    def call(function, attempt_id, token, *args):
        marks = ", ".join(["%s"] * (2 + len(args)))
        query = f"select driver.{function}({marks})"
        return connection.execute(query, [attempt_id, token, *args]).fetchone()[0]

    yield call
    connection.close()


CALLS = [
    ("claim", ("h",), False),
    ("renew", (), None),
    ("log", (1, Jsonb(LINES)), None),
    ("progress", (Jsonb({"stages": 1}),), False),
    ("metrics", (Jsonb({"cpu_s": 1.5}),), False),
    ("finish", ("SUCCEEDED", 0, None, None), False),
]


@pytest.mark.parametrize(("function", "args", "refusal"), CALLS)
def test_a_wrong_token_a_foreign_attempt_and_an_old_fence_get_nothing(
    store, new_grant, call, function, args, refusal
):
    mine, other = new_grant(), new_grant()
    if function != "claim":
        assert call("claim", mine.attempt_id, mine.token, "h")
    before = store.events(mine.run_id)
    for attempt_id, token in [
        (mine.attempt_id, other.token), (mine.attempt_id, ""), (mine.attempt_id, None),
        (uuid4(), mine.token), (None, mine.token),
    ]:  # fmt: skip
        assert call(function, attempt_id, token, *args) is refusal
    assert store.events(mine.run_id) == before
    assert store.logs(mine.run_id).items == []


@pytest.mark.parametrize(("function", "args", "refusal"), CALLS)
def test_an_overtaken_attempt_gets_nothing(
    store, new_grant, call, database, function, args, refusal
):
    grant = new_grant()
    if function != "claim":
        call("claim", grant.attempt_id, grant.token, "h")
    with psycopg.connect(database) as admin:
        admin.execute("update run set fence = fence + 1")
    assert call(function, grant.attempt_id, grant.token, *args) is refusal


@pytest.mark.parametrize(("function", "args", "refusal"), CALLS)
def test_an_ended_attempt_has_no_more_to_say(store, new_grant, call, function, args, refusal):
    grant = new_grant()
    call("claim", grant.attempt_id, grant.token, "h")
    assert call("finish", grant.attempt_id, grant.token, "FAILED", 7, "USER_ERROR", "x")
    assert call(function, grant.attempt_id, grant.token, *args) is refusal
    state = store.attempt_state(grant.attempt_id)
    assert (state.observed, state.exit_code) == (Detail.FAILED, 7)


@pytest.mark.parametrize(("function", "args", "refusal"), CALLS[1:])
def test_nothing_can_be_said_before_the_claim(new_grant, call, function, args, refusal):
    grant = new_grant()
    assert call(function, grant.attempt_id, grant.token, *args) is refusal


def test_an_attempt_is_claimed_once_even_when_its_driver_was_given_up(store, new_grant, call):
    grant = new_grant()
    assert call("claim", grant.attempt_id, grant.token, "first")
    assert not call("claim", grant.attempt_id, grant.token, "second")
    assert call("claim", grant.attempt_id, grant.token, "first"), "its answer may get lost"
    store.lost(grant.run_id, now=NOW)
    assert not call("claim", grant.attempt_id, grant.token, "second")


def test_only_rows_of_its_own_change(store, new_grant, call):
    mine, other = new_grant(), new_grant()
    call("claim", mine.attempt_id, mine.token, "h")
    call("log", mine.attempt_id, mine.token, 1, Jsonb(LINES))
    call("progress", mine.attempt_id, mine.token, Jsonb({"stages": 1}))
    call("finish", mine.attempt_id, mine.token, "SUCCEEDED", 0, None, None)
    untouched = store.get(other.run_id)
    assert (untouched.detail, untouched.progress) == (Detail.SUBMITTING, None)
    assert store.attempt_state(other.attempt_id).observed is Detail.SUBMITTING


def test_a_repeated_log_call_is_harmless_and_a_gap_is_refused(store, new_grant, call):
    grant = new_grant()
    call("claim", grant.attempt_id, grant.token, "h")

    def log(first, *texts):
        lines = Jsonb([[1.0, "stdout", text] for text in texts])
        return call("log", grant.attempt_id, grant.token, first, lines)

    assert log(1, "a", "b") == 3
    assert log(1, "a", "b") == 3
    assert log(2, "b", "c") == 4
    assert log(4) == 4
    for first in (0, -1, 9):
        with pytest.raises(psycopg.errors.DataException, match="leaves a gap"):
            log(first, "x")
    assert [line.line for line in store.logs(grant.run_id).items] == ["a", "b", "c"]


def test_a_log_has_an_end(new_grant, call, database):
    grant = new_grant()
    call("claim", grant.attempt_id, grant.token, "h")
    with psycopg.connect(database) as admin:
        admin.execute("update attempt set log_bytes = 64 * 1024 * 1024 + 1")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="too long"):
        call("log", grant.attempt_id, grant.token, 1, Jsonb(LINES))


def test_progress_is_small(store, new_grant, call):
    grant = new_grant()
    call("claim", grant.attempt_id, grant.token, "h")
    assert not call("progress", grant.attempt_id, grant.token, Jsonb({"x": "y" * 5_000}))
    assert call("progress", grant.attempt_id, grant.token, Jsonb({"tasks": 3}))
    assert store.get(grant.run_id).progress == {"tasks": 3}


def test_a_driver_ends_only_in_the_ways_it_can(new_grant, call):
    grant = new_grant()
    call("claim", grant.attempt_id, grant.token, "h")
    for state in ("RUNNING", "LOST", "SKIPPED", "x"):
        with pytest.raises(psycopg.errors.DataException, match="cannot end as"):
            call("finish", grant.attempt_id, grant.token, state, 0, None, None)


def test_a_lease_is_thirty_seconds_of_the_database(new_grant, call, database):
    grant = new_grant()
    call("claim", grant.attempt_id, grant.token, "h")
    with psycopg.connect(database, autocommit=True) as admin:
        left = "select extract(epoch from lease_until - clock_timestamp()) from attempt"
        assert 29 < admin.execute(left).fetchone()[0] <= 30
        admin.execute("update attempt set lease_until = now()")
        call("renew", grant.attempt_id, grant.token)
        assert 29 < admin.execute(left).fetchone()[0] <= 30
