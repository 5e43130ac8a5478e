"""Wait for the end of an attempt, asleep on a notification of the database.

Reads only; the sleeper wakes when the run changes, when the lease would lapse,
or when its time is over.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import dict_row

from dataharbour.errors import RunNotFound
from dataharbour.jobs.model import AttemptState
from dataharbour.jobs.rows import ATTEMPT_COLUMNS, attempt_of

CHANNEL = "dataharbour_run"

_NEWEST = f"""
    select {ATTEMPT_COLUMNS} from public.attempt a
    join public.run r on r.id = a.run_id and r.fence = a.fence where r.id = %s
"""
_GRACE_S = 0.2  # look a moment after the lease is over, not a moment before


def wait_for_end(connection: Connection[Any], run_id: UUID, *, timeout_s: float) -> AttemptState:
    """See `RunStore.wait`."""
    deadline = time.monotonic() + timeout_s
    connection.execute(f"listen {CHANNEL}")
    connection.commit()  # LISTEN holds from the commit on, so look only afterwards
    try:
        while True:
            row = connection.cursor(row_factory=dict_row).execute(_NEWEST, [run_id]).fetchone()
            connection.commit()
            if row is None:
                raise RunNotFound(
                    f"The run {run_id} does not exist or has no attempt.", "List the runs."
                )
            attempt, left_s = attempt_of(row), deadline - time.monotonic()
            if attempt.ended or attempt.lapsed or left_s <= 0:
                return attempt
            if attempt.lease_until is not None:
                left_s = min(left_s, row["lease_s"] + _GRACE_S)
            _sleep(connection, run_id, left_s)
    finally:
        if not connection.closed:
            connection.rollback()
            connection.execute(f"unlisten {CHANNEL}")


def _sleep(connection: Connection[Any], run_id: UUID, seconds: float) -> None:
    """Until `run_id` is named on the channel, or `seconds` are over."""
    wanted, until = str(run_id), time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        for notice in connection.notifies(timeout=left_s, stop_after=1):
            if notice.payload == wanted:
                return
