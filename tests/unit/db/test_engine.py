from __future__ import annotations

import gc

import psycopg
import pytest

from dataharbour.db.engine import Kept, connector


@pytest.fixture
def kept(database):
    found = Kept(connector(database))
    yield found
    found.close()


def backend(connection) -> int:
    return connection.execute("select pg_backend_pid()").fetchone()[0]


def test_one_connection_serves_one_transaction_after_another(kept):
    pids = set()
    for _ in range(5):
        with kept() as connection:
            pids.add(backend(connection))
    assert len(pids) == 1


def test_two_at_once_are_two(kept):
    with kept() as first, kept() as second:
        assert backend(first) != backend(second)


def test_what_was_written_is_committed(kept, database):
    with kept() as connection:
        connection.execute("create table kept (n int)")
    with psycopg.connect(database) as other:
        assert other.execute("select count(*) from kept").fetchone() == (0,)


def test_an_error_leaves_nothing_and_its_connection_is_not_used_again(kept, database):
    with pytest.raises(psycopg.errors.DivisionByZero), kept() as connection:
        connection.execute("create table kept as select 1 / 0 as n")
    assert connection.closed
    with psycopg.connect(database) as other:
        assert other.execute("select to_regclass('kept')").fetchone() == (None,)


def test_settings_of_a_transaction_end_with_it(kept):
    with kept() as connection:
        connection.execute("select set_config('dataharbour.actor', 'first', true)")
    with kept() as connection:
        row = connection.execute("select current_setting('dataharbour.actor', true)").fetchone()
    assert row[0] in (None, "")


def test_one_that_the_server_has_closed_is_replaced(kept, postgres):
    with kept() as connection:
        gone = backend(connection)
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(%s, 5000)", [gone])
    with kept() as connection:
        assert backend(connection) != gone


def test_with_the_keeper_the_connections_go(database):
    found = Kept(connector(database))
    with found() as connection:
        pass
    del found
    gc.collect()
    assert connection.closed
