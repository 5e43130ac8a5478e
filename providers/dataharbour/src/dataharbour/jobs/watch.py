"""Wait for the ends of attempts without a thread: for Airflow's triggerer.

All waits of a process share one connection, and are looked at by one query. Of a driver that
has not claimed its attempt, and is none of this machine's, its backend is asked, in a thread.
Reads only. Survives restarts of the database; two watchers of one attempt do
no harm.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from dataharbour.db.engine import bounded
from dataharbour.errors import RunNotFound
from dataharbour.jobs.backends.start import driver_is_alive
from dataharbour.jobs.model import AttemptState, Detail
from dataharbour.jobs.outcomes import Outcome, Patience, outcome
from dataharbour.jobs.rows import attempt_of
from dataharbour.jobs.statements import statement
from dataharbour.jobs.waiting import CHANNEL

_LOOK_EVERY_S = 10.0  # as often as a driver renews its lease; news of an end comes at once
_TURN_S = 0.5  # how soon a new wait is looked at for the first time
_GATHER_S = 0.05  # news that come together are looked at together
_RECONNECT_S = 2.0
_ASKS = 2  # of backends at once: each may take ten seconds, and the threads are everybody's

log = logging.getLogger(__name__)

OnLook = Callable[[AttemptState], None]
IsAlive = Callable[[str], bool | None]


async def until_settled(
    conninfo: str, attempt_id: UUID, *, patience: Patience, on_look: OnLook, is_alive: IsAlive
) -> Outcome:
    """Wait until there is nothing more to wait for.

    Args:
        conninfo: libpq string of the database `dataharbour`.
        attempt_id: the attempt.
        patience: how long to wait for what.
        on_look: told each state that was read, at least about every ten seconds; what it
            raises ends the wait.
        is_alive: the backend's; asked in a thread, and only for a driver that has not claimed
            its attempt yet.

    Raises:
        RunNotFound: there is no such attempt.
    """
    loop = asyncio.get_running_loop()
    key = (id(loop), conninfo)
    watcher = _watchers.setdefault(key, _Watcher(key))
    wait = _Wait(attempt_id, patience, on_look, is_alive, loop.create_future())
    watcher.add(wait)
    try:
        return await wait.settled
    finally:
        watcher.remove(wait)
        if not watcher.waits:
            watcher.close()


@dataclass(eq=False)
class _Wait:
    """One that waits.

    Attributes:
        due_at: when its attempt is to be looked at next (monotonic); at once, to begin with.
        run_id: as far as it is known.
        alive: what the backend has answered last.
        asking: while it is being asked.
    """

    attempt_id: UUID
    patience: Patience
    on_look: OnLook
    is_alive: IsAlive
    settled: asyncio.Future[Outcome]
    due_at: float = 0.0
    run_id: str | None = None
    alive: bool | None = None
    asking: asyncio.Task[None] | None = None


@dataclass(eq=False)
class _Watcher:
    """The waits of one event loop (its id) on one database (its conninfo)."""

    key: tuple[int, str]
    waits: set[_Wait] = field(default_factory=set)
    _asks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_ASKS))
    _task: asyncio.Task[None] | None = None

    def add(self, wait: _Wait) -> None:
        self.waits.add(wait)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="dataharbour watch")

    def remove(self, wait: _Wait) -> None:
        self.waits.discard(wait)
        if wait.asking is not None:
            wait.asking.cancel()

    def close(self) -> None:
        self._take_no_more()
        if self._task is not None:
            self._task.cancel()

    def _take_no_more(self) -> None:
        """Whoever comes from now on gets another watcher; that one may be there already."""
        if _watchers.get(self.key) is self:
            del _watchers[self.key]

    async def _run(self) -> None:
        while True:
            try:
                async with _listening(self.key[1]) as connection:
                    for wait in self.waits:
                        wait.due_at = 0.0  # news were lost while nobody listened
                    while True:
                        await self._look(connection)
                        await self._listen(connection)
            except psycopg.OperationalError as error:
                log.warning("PostgreSQL is away, looking again in %s s: %s", _RECONNECT_S, error)
                await asyncio.sleep(_RECONNECT_S)
            except Exception as error:  # nobody else would tell the waits
                self._take_no_more()
                for wait in self.waits:
                    _fail(wait, error)
                return

    async def _look(self, connection: AsyncConnection[Any]) -> None:
        """Read all attempts that are due in one query."""
        began = time.monotonic()
        due = [wait for wait in self.waits if wait.due_at <= began and not wait.settled.done()]
        if not due:
            return
        values = {"attempt_ids": list({wait.attempt_id for wait in due}), "run_id": None}
        cursor = connection.cursor(row_factory=dict_row)
        rows = await (await cursor.execute(statement("attempt_state"), values)).fetchall()
        found = {row["attempt_id"]: row for row in rows}
        for wait in due:
            wait.due_at = began + _LOOK_EVERY_S
            try:
                unseen = _tell(wait, found.get(wait.attempt_id))
            except Exception as error:  # of this wait alone
                _fail(wait, error)
            else:
                if unseen is not None and (wait.asking is None or wait.asking.done()):
                    wait.asking = asyncio.create_task(self._ask(wait, unseen))

    async def _ask(self, wait: _Wait, external_id: str) -> None:
        """Ask the backend whether a driver lives; where not, its attempt is read once more."""
        try:
            async with self._asks:
                wait.alive = await asyncio.to_thread(wait.is_alive, external_id)
        except Exception as error:  # then only the time tells
            log.warning("Nobody can say whether the driver %s lives: %s", external_id, error)
        if wait.alive is False:
            wait.due_at = 0.0  # it may have claimed, and ended, before the answer

    async def _listen(self, connection: AsyncConnection[Any]) -> None:
        """Until there is news, or an attempt is due."""
        next_at = min((wait.due_at for wait in self.waits), default=float("inf"))
        timeout_s = min(max(next_at - time.monotonic(), 0.0), _TURN_S)
        news = {note.payload async for note in connection.notifies(timeout=timeout_s, stop_after=1)}
        if not news.isdisjoint(self._runs()):
            news |= {note.payload async for note in connection.notifies(timeout=_GATHER_S)}
        for wait in self.waits:
            if wait.run_id in news:
                wait.due_at = 0.0

    def _runs(self) -> Iterable[str]:
        return (wait.run_id for wait in self.waits if wait.run_id is not None)


_watchers: dict[tuple[int, str], _Watcher] = {}  # by event loop and database


def _tell(wait: _Wait, row: dict[str, Any] | None) -> str | None:
    """Settle a wait, or report what was seen.

    Returns:
        The driver that its backend is to be asked about, or None.
    """
    if wait.settled.done():
        return None
    if row is None:
        raise RunNotFound(f"There is no attempt {wait.attempt_id}.", "List the runs.")
    attempt, wait.run_id = attempt_of(row), str(row["run_id"])
    here = None if attempt.external_id is None else driver_is_alive(attempt.external_id)
    alive = wait.alive if here is None else here
    settled = outcome(attempt, patience=wait.patience, alive=alive, now=time.time())
    if settled is not None:
        wait.settled.set_result(settled)
        return None
    wait.on_look(attempt)
    is_unseen = here is None and attempt.observed is Detail.SUBMITTED
    return attempt.external_id if is_unseen else None


def _fail(wait: _Wait, error: Exception) -> None:
    if not wait.settled.done():
        wait.settled.set_exception(error)


@asynccontextmanager
async def _listening(conninfo: str) -> AsyncIterator[AsyncConnection[Any]]:
    connection = await AsyncConnection.connect(
        bounded(conninfo), autocommit=True, application_name="dataharbour trigger"
    )
    async with connection:
        await connection.execute(f"listen {CHANNEL}")
        yield connection
