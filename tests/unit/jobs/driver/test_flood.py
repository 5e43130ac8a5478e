"""A driver that writes as fast as it can holds up neither its lease nor its owner's word."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dataharbour.jobs.model import Detail

FLOOD = """
    import os, sys
    print("pid", os.getpid(), flush=True)
    block = b"".join(b"%07d and some words to fill a line of a log\\n" % i for i in range(1000))
    while True:
        os.write({stream}, block)
"""


@pytest.fixture
def slow_log(database: str) -> None:
    """The database takes half a second for each batch of lines."""
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(
            "create function slow() returns trigger language plpgsql as "
            "$$ begin perform pg_sleep(0.5); return new; end $$"
        )
        admin.execute(
            "create trigger slow before insert on log_chunk for each row execute function slow()"
        )


def renewals(database: str, driver, *, seconds: float) -> Iterator[float]:
    """The pauses between the renewals that are seen meanwhile."""
    with psycopg.connect(database, autocommit=True) as admin:
        last, since, until = None, time.monotonic(), time.monotonic() + seconds
        while time.monotonic() < until:
            query = "select lease_until from attempt where id = %s"
            (lease,) = admin.execute(query, [driver.grant.attempt_id]).fetchone()
            if lease is not None and lease != last:
                if last is not None:
                    yield time.monotonic() - since
                last, since = lease, time.monotonic()
            time.sleep(0.05)
        yield time.monotonic() - since


def test_the_lease_is_renewed_in_time(launch, database, slow_log):
    driver = launch(FLOOD.format(stream=1), renew_every_s=1.0)
    pauses = list(renewals(database, driver, seconds=8))
    assert len(pauses) >= 5
    assert max(pauses) < 3, "one batch may be under way when it is due"


@pytest.mark.parametrize("stream", [1, 2])  # lines of errors are kept for the failure as well
def test_a_cancelled_flood_is_over_at_once(launch, store, slow_log, stream):
    """Far from the next renewal: the owner's word is heard between two batches."""
    driver = launch(FLOOD.format(stream=stream))
    time.sleep(2)
    asked = time.monotonic()
    store.cancel(driver.grant.run_id, grace_s=0, now=store.get(driver.grant.run_id).created_at)
    children = Path(f"/proc/{driver.process.pid}/task/{driver.process.pid}/children")
    while children.read_text():
        time.sleep(0.02)
        assert time.monotonic() - asked < 5, "the application still floods"
    assert driver.end(90).observed is Detail.CANCELLED
