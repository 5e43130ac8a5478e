"""Tell waiting requests that a run, or its log, has changed: one LISTEN for all of them.

Holds a database connection only while somebody waits, and no thread at all.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import psycopg
from starlette.concurrency import run_in_threadpool

from dataharbour.db.engine import bounded
from dataharbour.errors import DataHarbourError

log = logging.getLogger(__name__)

RUN, LOG = "dataharbour_run", "dataharbour_log"  # the payload of both channels is the run's id
RECONNECT_S = 1.0


class Changes:
    """The waiting requests of one process.

    A waiter must also look by itself every second or two: while the database
    is away nobody is told anything.

    Args:
        conninfo: gives the libpq string of the database; may be slow.
    """

    def __init__(self, conninfo: Callable[[], str]) -> None:
        self._conninfo = conninfo
        self._waiting: defaultdict[tuple[str, str], set[asyncio.Event]] = defaultdict(set)
        self._listener: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def of(self, run_id: str, *channels: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set after each change of this run; the waiter clears it.

        Args:
            run_id: the run.
            channels: what counts as a change: `RUN` its state, `LOG` a line of its log. Who waits
                for an end is not woken by each line of a talkative driver.
        """
        event = asyncio.Event()
        keys = [(channel, run_id) for channel in channels]
        for key in keys:
            self._waiting[key].add(event)
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen(), name="dataharbour changes")
        try:
            yield event
        finally:
            for key in keys:
                self._waiting[key].discard(event)
                if not self._waiting[key]:
                    del self._waiting[key]
            if not self._waiting:
                await self.close()

    async def close(self) -> None:
        """Stop listening."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (psycopg.Error, DataHarbourError) as error:
                log.warning("Listening for changes of runs was interrupted: %s", error)
                await asyncio.sleep(RECONNECT_S)

    async def _listen_once(self) -> None:
        conninfo = await run_in_threadpool(self._conninfo)
        connection = await psycopg.AsyncConnection.connect(
            bounded(conninfo), autocommit=True, application_name="dataharbour api changes"
        )
        async with connection:
            for channel in (RUN, LOG):
                await connection.execute(f"listen {channel}")
            self._wake(*self._waiting)  # what happened before the LISTEN
            async for notice in connection.notifies():
                self._wake((notice.channel, notice.payload))

    def _wake(self, *keys: tuple[str, str]) -> None:
        for key in keys:
            for event in self._waiting.get(key, ()):
                event.set()


async def wait_for(event: asyncio.Event, *, timeout_s: float) -> None:
    """Return when the event is set, or after `timeout_s`; clears it."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)
    event.clear()


def server_stops() -> bool:
    """Whether uvicorn was asked to stop. It waits for open answers, so ours must end then."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))
