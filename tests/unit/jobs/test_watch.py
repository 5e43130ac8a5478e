from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from dataharbour.errors import RunNotFound
from dataharbour.jobs import watch
from dataharbour.jobs.model import AttemptGrant, AttemptState
from dataharbour.jobs.outcomes import Outcome, Patience, patience
from dataharbour.jobs.store import RunStore

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FINISH = "finish(%(id)s, %(token)s, 'SUCCEEDED', 0, null, null)"


@pytest.fixture
def grant(store: RunStore, new_run: Callable[..., Any]) -> AttemptGrant:
    grant = store.start_attempt(new_run().id, backend="plain", now=NOW)
    store.submitted(grant.attempt_id, external_id="elsewhere:1:1", now=NOW)
    return grant


def settle(
    database: str,
    attempt_id: UUID,
    *meanwhile: Callable[[], object],
    wait: Patience | None = None,
    after_s: float = 0.3,
    is_alive: watch.IsAlive = lambda external_id: None,
) -> tuple[Outcome, list[AttemptState], float]:
    """Watch an attempt, doing something meanwhile: the outcome, what was seen, the seconds."""
    seen: list[AttemptState] = []

    async def both() -> Outcome:
        watching = asyncio.create_task(
            watch.until_settled(
                database,
                attempt_id,
                patience=wait or patience(claim_within_s=60, timeout_s=None, now=time.time()),
                on_look=seen.append,
                is_alive=is_alive,
            )
        )
        for step in meanwhile:
            await asyncio.sleep(after_s)
            await asyncio.to_thread(step)
        return await asyncio.wait_for(watching, 15)

    began = time.monotonic()
    outcome = asyncio.run(both())
    return outcome, seen, time.monotonic() - began


def as_driver(database: str, grant: AttemptGrant, call: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(f"select driver.{call}", {"id": grant.attempt_id, "token": grant.token})


@pytest.fixture
def claim(database: str, grant: AttemptGrant) -> Callable[[], None]:
    return lambda: as_driver(database, grant, "claim(%(id)s, %(token)s, 'h:1')")


@pytest.fixture
def finish(database: str, grant: AttemptGrant) -> Callable[[], None]:
    return lambda: as_driver(database, grant, FINISH)


def test_the_end_is_heard_at_once(database, grant, claim, finish):
    outcome, seen, seconds = settle(database, grant.attempt_id, claim, finish)
    assert outcome is Outcome.ENDED
    assert [str(state.observed) for state in seen] == ["SUBMITTED", "RUNNING"]
    assert seconds < 2


def test_an_end_before_the_watch_began_is_seen(database, grant, claim, finish):
    claim()
    finish()
    assert settle(database, grant.attempt_id)[0] is Outcome.ENDED


def test_other_runs_do_not_wake_it(database, grant, claim, finish, new_run):
    outcome, seen, _ = settle(database, grant.attempt_id, new_run, new_run, claim, finish)
    assert outcome is Outcome.ENDED
    assert len(seen) == 2


def test_two_watchers_do_no_harm(database, grant, claim, finish):
    def another() -> None:
        claim()
        finish()
        assert settle(database, grant.attempt_id)[0] is Outcome.ENDED

    assert settle(database, grant.attempt_id, another)[0] is Outcome.ENDED


def test_it_outlives_its_connection(database, grant, claim, finish, monkeypatch):
    monkeypatch.setattr(watch, "_RECONNECT_S", 0.1)

    def cut() -> None:
        with psycopg.connect(database) as connection:
            found = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'dataharbour trigger'"
            ).fetchall()
        assert found == [(True,)]

    outcome, _, _ = settle(database, grant.attempt_id, cut, claim, finish)
    assert outcome is Outcome.ENDED


def test_a_lapsed_lease_is_noticed(database, grant, claim, monkeypatch):
    monkeypatch.setattr(watch, "_LOOK_EVERY_S", 0.2)

    def lapse() -> None:
        with psycopg.connect(database) as connection:
            connection.execute("update attempt set lease_until = clock_timestamp()")

    assert settle(database, grant.attempt_id, claim, lapse)[0] is Outcome.LAPSED


def test_a_driver_that_never_comes_is_noticed(database, grant, monkeypatch):
    monkeypatch.setattr(watch, "_LOOK_EVERY_S", 0.2)
    now = time.time()
    wait = Patience(since=now, claim_by=now + 0.5, end_by=None)
    assert settle(database, grant.attempt_id, wait=wait)[0] is Outcome.UNCLAIMED


def test_the_deadline_is_kept(database, grant, claim, monkeypatch):
    monkeypatch.setattr(watch, "_LOOK_EVERY_S", 0.2)
    claim()
    now = time.time()
    wait = Patience(since=now, claim_by=now + 0.5, end_by=now + 0.5)
    assert settle(database, grant.attempt_id, wait=wait)[0] is Outcome.OVERDUE


def test_an_attempt_that_is_not_there_is_an_error(database):
    with pytest.raises(RunNotFound, match="no attempt"):
        settle(database, uuid4())


def test_a_hundred_waits_share_one_connection_and_are_looked_at_by_one_query(
    database, store, new_run, monkeypatch
):
    """As many deferred runs as there are must not use up the server, nor its connections."""
    asked: list[int] = []  # attempts, by query
    execute = psycopg.AsyncCursor.execute

    async def counted(cursor: Any, query: Any, values: Any = None, **options: Any) -> Any:
        if values:
            asked.append(len(values["attempt_ids"]))
        return await execute(cursor, query, values, **options)

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", counted)
    grants = [store.start_attempt(new_run().id, backend="plain", now=NOW) for _ in range(100)]

    async def watch_all() -> tuple[list[Outcome], int]:
        waits = [
            asyncio.create_task(
                watch.until_settled(
                    database,
                    grant.attempt_id,
                    patience=patience(claim_within_s=60, timeout_s=None, now=time.time()),
                    on_look=lambda state: None,
                    is_alive=lambda external_id: None,
                )
            )
            for grant in grants
        ]
        await asyncio.sleep(1.5)
        assert asked == [100]
        with psycopg.connect(database) as connection:
            [connections] = connection.execute(
                "select count(*) from pg_stat_activity "
                "where application_name = 'dataharbour trigger' and datname = current_database()"
            ).fetchone()
            connection.execute("update attempt set state = 'FAILED', ended_at = now()")
            for grant in grants:
                connection.execute("select pg_notify('dataharbour_run', %s)", [str(grant.run_id)])
        return await asyncio.wait_for(asyncio.gather(*waits), 5), connections

    outcomes, connections = asyncio.run(watch_all())
    assert set(outcomes) == {Outcome.ENDED}
    assert connections == 1
    assert len(asked) < 10, "news that come together are looked at together"


def watching(
    database: str,
    attempt_id: UUID,
    on_look: Callable[[AttemptState], None],
    is_alive: watch.IsAlive = lambda external_id: None,
) -> Any:
    patient = patience(claim_within_s=60, timeout_s=None, now=time.time())
    return asyncio.create_task(
        watch.until_settled(
            database, attempt_id, patience=patient, on_look=on_look, is_alive=is_alive
        )
    )


def test_who_comes_in_the_moment_of_an_unexpected_error_is_watched_for_all_the_same(
    database, grant, claim, finish, monkeypatch
):
    """It begins to wait when the watch has ended and those that waited do not know it yet."""
    look, late = watch._Watcher._look, []

    async def fails_once(watcher: Any, connection: Any) -> None:
        monkeypatch.setattr(watch._Watcher, "_look", look)
        late.append(watching(database, grant.attempt_id, lambda state: None))
        raise ValueError("a row that nobody can read")

    monkeypatch.setattr(watch._Watcher, "_look", fails_once)

    async def both() -> Outcome:
        with pytest.raises(ValueError, match="nobody can read"):
            await asyncio.wait_for(watching(database, grant.attempt_id, print), 5)
        await asyncio.to_thread(claim)
        await asyncio.to_thread(finish)
        [second] = late
        return await asyncio.wait_for(second, 5)

    assert asyncio.run(both()) is Outcome.ENDED


def test_a_look_that_fails_ends_its_own_wait_only(database, grant, claim, finish):
    def broken(state: AttemptState) -> None:
        raise OSError(28, "No space left on device")

    async def both() -> Outcome:
        good = watching(database, grant.attempt_id, lambda state: None)
        bad = watching(database, grant.attempt_id, broken)
        with pytest.raises(OSError, match="No space left"):
            await asyncio.wait_for(bad, 5)
        await asyncio.to_thread(claim)
        await asyncio.to_thread(finish)
        return await asyncio.wait_for(good, 5)

    assert asyncio.run(both()) is Outcome.ENDED


# --- drivers on other machines --------------------------------------------------------------


def test_a_driver_elsewhere_that_died_before_it_claimed_is_noticed_at_once(database, grant):
    asked: list[str] = []

    def is_alive(external_id: str) -> bool:
        asked.append(external_id)
        return False

    outcome, _, seconds = settle(database, grant.attempt_id, is_alive=is_alive)
    assert (outcome, asked) == (Outcome.UNCLAIMED, ["elsewhere:1:1"])
    assert seconds < 3


def test_one_that_claimed_and_ended_before_the_answer_has_ended(database, grant, claim, finish):
    def is_alive(external_id: str) -> bool:
        claim()
        finish()
        return False

    assert settle(database, grant.attempt_id, is_alive=is_alive)[0] is Outcome.ENDED


@pytest.mark.parametrize("answer", [True, None, OSError("no answer")], ids=repr)
def test_any_other_answer_is_waited_out(database, grant, claim, finish, monkeypatch, answer):
    monkeypatch.setattr(watch, "_LOOK_EVERY_S", 0.2)
    asked: list[str] = []

    def is_alive(external_id: str) -> bool | None:
        asked.append(external_id)
        if isinstance(answer, Exception):
            raise answer
        return answer

    meanwhile = (lambda: None, claim, finish)
    outcome, _, _ = settle(database, grant.attempt_id, *meanwhile, after_s=1, is_alive=is_alive)
    assert outcome is Outcome.ENDED
    assert len(asked) > 1, "it is asked again"


def test_once_it_has_claimed_nobody_is_asked(database, grant, claim, finish, monkeypatch):
    monkeypatch.setattr(watch, "_LOOK_EVERY_S", 0.2)
    claim()
    asked: list[str] = []
    settle(database, grant.attempt_id, finish, after_s=1, is_alive=asked.append)
    assert asked == []


def test_a_backend_that_does_not_answer_holds_nobody_up(database, store, new_run):
    """Ten waits on a master that hangs, and one whose driver ends."""
    answers = threading.Event()
    began: list[float] = []

    def hangs(external_id: str) -> None:
        began.append(time.monotonic())
        answers.wait(10)

    grants = [store.start_attempt(new_run().id, backend="plain", now=NOW) for _ in range(11)]
    for grant in grants:
        store.submitted(grant.attempt_id, external_id="driver-1", now=NOW)

    async def end_of_the_last() -> float:
        *others, last = [
            watching(database, grant.attempt_id, lambda state: None, hangs) for grant in grants
        ]
        await asyncio.sleep(1)
        since = time.monotonic()
        for call in ("claim(%(id)s, %(token)s, 'h:1')", FINISH):
            await asyncio.to_thread(as_driver, database, grants[-1], call)
        assert await asyncio.wait_for(last, 5) is Outcome.ENDED
        took_s = time.monotonic() - since
        assert (len(began), [other.done() for other in others]) == (watch._ASKS, [False] * 10)
        answers.set()
        return took_s

    assert asyncio.run(end_of_the_last()) < 2
