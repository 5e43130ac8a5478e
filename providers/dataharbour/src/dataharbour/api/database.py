"""Reach the database `dataharbour` with what Airflow's connection says at the moment.

Keeps a few connections open: to open one costs more than most of the questions.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg.pq import TransactionStatus

from dataharbour.api.problems import NotConfigured
from dataharbour.api.remembered import Remembered
from dataharbour.db.engine import Connection, connect
from dataharbour.errors import ConfigError, Unavailable

CONNINFO_TTL_S = 30.0
MAX_IDLE = 8
MAX_IDLE_S = 60.0


class Database:
    """Lends connections; asks for the address again after a while and after a failure.

    Args:
        find_conninfo: gives the libpq string; may be slow, may raise.
        clock: seconds that only grow.
    """

    def __init__(
        self, find_conninfo: Callable[[], str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._find_conninfo = find_conninfo
        self._clock = clock
        self._conninfo: tuple[str, float] | None = None
        self._answers = Remembered(self._try, clock=clock)
        self._lending = threading.Lock()
        self._idle: list[tuple[Connection, str, float]] = []  # newest last

    def conninfo(self) -> str:
        """The libpq string. It holds the password.

        Raises:
            NotConfigured: Airflow has no connection for it.
        """
        known = self._conninfo
        if known is None or self._clock() - known[1] > CONNINFO_TTL_S:
            try:
                known = self._conninfo = (self._find_conninfo(), self._clock())
            except ConfigError as error:
                raise NotConfigured(error.problem, error.remedy) from error
        return known[0]

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for one transaction: committed at the end, rolled back on an error.

        Raises:
            Unavailable: PostgreSQL did not let us in.
            NotConfigured: Airflow has no connection for it.
        """
        conninfo = self.conninfo()
        connection = self._take(conninfo)
        try:
            yield connection
            connection.commit()
        except BaseException:
            with suppress(psycopg.Error):
                connection.rollback()
            raise
        finally:
            self._give_back(connection, conninfo)

    def answers(self) -> bool:
        """Whether the database does a little work. Asked at most every 2 s, however many ask."""
        return self._answers()

    def close(self) -> None:
        """Close what is idle."""
        while idle := self._pop():
            idle[0].close()

    def _take(self, conninfo: str) -> Connection:
        while idle := self._pop():
            connection, its_conninfo, since = idle
            fresh = self._clock() - since < MAX_IDLE_S
            if its_conninfo == conninfo and fresh and not _hung_up(connection):
                return connection
            connection.close()
        try:
            return connect(conninfo, application_name="dataharbour api")
        except Unavailable:
            self._conninfo = None
            raise

    def _give_back(self, connection: Connection, conninfo: str) -> None:
        usable = connection.info.transaction_status is TransactionStatus.IDLE
        with self._lending:
            if usable and len(self._idle) < MAX_IDLE:
                self._idle.append((connection, conninfo, self._clock()))
                return
        connection.close()

    def _pop(self) -> tuple[Connection, str, float] | None:
        with self._lending:
            return self._idle.pop() if self._idle else None

    def _try(self) -> bool:
        try:
            with self.connection() as connection:
                connection.execute("select 1")
        except Exception:  # whatever it is, it is not ready
            return False
        return True


def _hung_up(connection: Connection) -> bool:
    """Whether the server has closed the connection (or said something nobody asked for)."""
    try:
        return bool(select.select([connection.fileno()], [], [], 0)[0])
    except (OSError, ValueError):
        return True
