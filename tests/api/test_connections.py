"""The few connections that the API keeps, against a real PostgreSQL."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
import pytest

from dataharbour.api.database import MAX_IDLE, MAX_IDLE_S, Database


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(database, clock):
    kept = Database(lambda: database, clock=clock)
    yield kept
    kept.close()


def pid(database: Database) -> int:
    with database.connection() as connection:
        return connection.info.backend_pid


def assert_open(database: str, *, at_most: int) -> None:
    """The server notices within a moment that a connection was closed."""
    query = (
        "select count(*) from pg_stat_activity "
        "where application_name = 'dataharbour api' and datname = current_database()"
    )
    deadline = time.monotonic() + 5
    with psycopg.connect(database, autocommit=True) as connection:
        while (found := connection.execute(query).fetchone()[0]) > at_most:
            assert time.monotonic() < deadline, f"{found} connections are open"
            time.sleep(0.02)


def test_a_connection_is_used_again(kept):
    assert pid(kept) == pid(kept)


def test_what_was_written_is_committed_and_what_failed_is_not(kept, database):
    with kept.connection() as connection:
        connection.execute("create table t (n int)")
    with suppress(ZeroDivisionError), kept.connection() as connection:
        connection.execute("insert into t values (1)")
        raise ZeroDivisionError
    with kept.connection() as connection:
        assert connection.execute("select count(*) from t").fetchone()[0] == 0


def test_an_error_of_the_database_does_not_spoil_the_next_question(kept):
    with pytest.raises(psycopg.errors.UndefinedTable), kept.connection() as connection:
        connection.execute("select * from nothing")
    with kept.connection() as connection:
        assert connection.execute("select 1").fetchone()[0] == 1


def test_a_connection_that_the_server_closed_is_replaced_unseen(kept, postgres):
    first = pid(kept)
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(%s, 5000)", [first])
    assert pid(kept) != first


def test_a_connection_that_was_idle_for_long_is_replaced(kept, clock):
    first = pid(kept)
    clock.now += MAX_IDLE_S + 1
    assert pid(kept) != first


def test_a_changed_address_is_followed(database, clock):
    address = [database]
    kept = Database(lambda: address[0], clock=clock)
    first = pid(kept)
    address[0] = f"{database} options='-c search_path=pg_catalog'"
    clock.now += 31
    assert pid(kept) != first
    kept.close()


def test_threads_do_not_share_a_connection_and_few_stay_open(kept, database):
    def use(_: int) -> int:
        with kept.connection() as connection:
            connection.execute("select pg_sleep(0.1)")
            return connection.info.backend_pid

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(use, range(20)))) > MAX_IDLE
    assert_open(database, at_most=MAX_IDLE)
    kept.close()
    assert_open(database, at_most=0)
