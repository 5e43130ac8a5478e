"""Wait for the end of an attempt without a thread: for Airflow's triggerer.

Reads only. Survives restarts of the database; two watchers of one attempt do
no harm.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from dataharbour.db.engine import bounded
from dataharbour.errors import RunNotFound
from dataharbour.jobs.backends.start import driver_is_alive
from dataharbour.jobs.model import AttemptState
from dataharbour.jobs.outcomes import Outcome, Patience, outcome
from dataharbour.jobs.rows import attempt_of
from dataharbour.jobs.statements import statement
from dataharbour.jobs.waiting import CHANNEL

_LOOK_EVERY_S = 10.0  # as often as a driver renews its lease; news of an end comes at once
_RECONNECT_S = 2.0

log = logging.getLogger(__name__)

OnLook = Callable[[AttemptState], None]


async def until_settled(
    conninfo: str, attempt_id: UUID, *, patience: Patience, on_look: OnLook
) -> Outcome:
    """Wait until there is nothing more to wait for.

    Args:
        conninfo: libpq string of the database `dataharbour`.
        attempt_id: the attempt.
        patience: how long to wait for what.
        on_look: told each state that was read, at most about every ten seconds.

    Raises:
        RunNotFound: there is no such attempt.
    """
    while True:
        try:
            async with _listening(conninfo) as connection:
                return await _settled(connection, attempt_id, patience, on_look)
        except psycopg.OperationalError as error:
            log.warning("PostgreSQL is away, looking again in %s s: %s", _RECONNECT_S, error)
            await asyncio.sleep(_RECONNECT_S)


async def _settled(
    connection: AsyncConnection[Any], attempt_id: UUID, patience: Patience, on_look: OnLook
) -> Outcome:
    query, values = statement("attempt_state"), {"attempt_id": attempt_id, "run_id": None}
    while True:
        cursor = connection.cursor(row_factory=dict_row)
        row = await (await cursor.execute(query, values)).fetchone()
        if row is None:
            raise RunNotFound(f"There is no attempt {attempt_id}.", "List the runs.")
        attempt, run_id = attempt_of(row), str(row["run_id"])
        now = time.time()
        alive = None if attempt.external_id is None else driver_is_alive(attempt.external_id)
        settled = outcome(attempt, patience=patience, alive=alive, now=now)
        if settled is not None:
            return settled
        on_look(attempt)
        await _sleep(connection, run_id)


async def _sleep(connection: AsyncConnection[Any], run_id: str) -> None:
    """Until the run is named on the channel, or it is time for another look."""
    until = time.monotonic() + _LOOK_EVERY_S
    while (left_s := until - time.monotonic()) > 0:
        async for notice in connection.notifies(timeout=left_s, stop_after=1):
            if notice.payload == run_id:
                return


@asynccontextmanager
async def _listening(conninfo: str) -> AsyncIterator[AsyncConnection[Any]]:
    connection = await AsyncConnection.connect(
        bounded(conninfo), autocommit=True, application_name="dataharbour trigger"
    )
    async with connection:
        await connection.execute(f"listen {CHANNEL}")
        yield connection
