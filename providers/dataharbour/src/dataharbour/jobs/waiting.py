"""Wait for the end of an attempt, asleep on a notification of the database.

Reads only; the sleeper wakes when the run changes, when the lease would lapse,
or when its time is over.
"""

from __future__ import annotations

import time
from uuid import UUID

from dataharbour.errors import RunNotFound
from dataharbour.jobs.model import AttemptState
from dataharbour.jobs.rows import attempt_of
from dataharbour.jobs.statements import AnyConnection, fetch_one, statement

CHANNEL = "dataharbour_run"

_GRACE_S = 0.2  # look a moment after the lease is over, not a moment before


def wait_for_end(connection: AnyConnection, run_id: UUID, *, timeout_s: float) -> AttemptState:
    """See `RunStore.wait`."""
    deadline = time.monotonic() + timeout_s
    newest = {"attempt_ids": None, "run_id": run_id}
    connection.execute(f"listen {CHANNEL}")
    connection.commit()  # LISTEN holds from the commit on, so look only afterwards
    try:
        while True:
            row = fetch_one(connection, statement("attempt_state"), newest)
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


def _sleep(connection: AnyConnection, run_id: UUID, seconds: float) -> None:
    """Until `run_id` is named on the channel, or `seconds` are over."""
    wanted, until = str(run_id), time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        for notice in connection.notifies(timeout=left_s, stop_after=1):
            if notice.payload == wanted:
                return
