from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from dataharbour.jobs.model import AttemptGrant

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def grant(store, new_run) -> AttemptGrant:
    return store.start_attempt(new_run().id, backend="plain", now=NOW)


def claim(conninfo: str, grant: AttemptGrant, holder: str) -> bool:
    with psycopg.connect(conninfo) as connection:
        values = [grant.attempt_id, grant.token, holder]
        row = connection.execute("select driver.claim(%s, %s, %s)", values).fetchone()
    assert row is not None
    return row[0]


def lease_left_s(conninfo: str, attempt_id: UUID) -> float:
    query = "select extract(epoch from lease_until - clock_timestamp()) from attempt where id = %s"
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(query, [attempt_id]).fetchone()
    assert row is not None
    return float(row[0])


def shorten_lease(conninfo: str) -> None:
    with psycopg.connect(conninfo) as connection:
        connection.execute("update attempt set lease_until = clock_timestamp() + interval '5 s'")


def test_the_driver_that_asks_again_has_a_whole_lease(grant, database, driver_database):
    assert claim(driver_database, grant, "host:1:a")
    shorten_lease(database)
    assert claim(driver_database, grant, "host:1:a")
    assert lease_left_s(database, grant.attempt_id) > 28


def test_another_driver_gets_nothing_and_changes_nothing(grant, database, driver_database):
    assert claim(driver_database, grant, "host:1:a")
    shorten_lease(database)
    assert not claim(driver_database, grant, "host:1:b")
    assert lease_left_s(database, grant.attempt_id) < 6
