"""Open connections to PostgreSQL, bounded in time, with an error that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dataharbour.errors import Unavailable

CONNECT_TIMEOUT_S = 5

# A server that is gone without a word must not hold a caller for the kernel's two hours.
_BOUNDED = (
    f"connect_timeout={CONNECT_TIMEOUT_S} tcp_user_timeout=20000 "
    "keepalives_idle=10 keepalives_interval=5 keepalives_count=3"
)

Connection = psycopg.Connection[tuple[Any, ...]]
Connect = Callable[[], Connection]


def bounded(conninfo: str) -> str:
    """The libpq string with limits in time, unless it has some of its own."""
    return make_conninfo(_BOUNDED, **conninfo_to_dict(conninfo))


def connect(
    conninfo: str, *, autocommit: bool = False, application_name: str = "dataharbour"
) -> Connection:
    """Open a connection; use it in `with`, which commits (or rolls back) and closes.

    Args:
        conninfo: libpq string or ``postgresql://`` URL.
        autocommit: whether each statement is a transaction of its own.
        application_name: shown in ``pg_stat_activity``.

    Raises:
        Unavailable: PostgreSQL did not let us in.
    """
    try:
        return psycopg.connect(
            bounded(conninfo),
            autocommit=autocommit,
            application_name=application_name,
        )
    except psycopg.OperationalError as error:
        # The server's text names host, port, user and database, never the password.
        raise Unavailable(
            f"PostgreSQL does not accept the connection: {str(error).strip()}",
            "Is it running (harbour status)? Are host, port, user and password those of "
            "the connection dataharbour_db?",
        ) from error


def connector(conninfo: str, *, application_name: str = "dataharbour") -> Connect:
    """A function that opens a new connection each time, as `RunStore` takes it."""
    return lambda: connect(conninfo, application_name=application_name)


class Kept:
    """Opens connections as `connect` does, and gives one that nobody uses any more to the next.

    For a process that does one thing after another: a task opens one in place of ten.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._idle: list[Connection] = []

    @contextmanager
    def __call__(self) -> Iterator[Connection]:
        """A connection for one transaction, which is committed, or rolled back."""
        connection = self._awake() or self._connect()
        try:
            yield connection
            connection.commit()
        except BaseException:
            connection.close()
            raise
        if not connection.closed:
            self._idle.append(connection)

    def _awake(self) -> Connection | None:
        """An idle one that still works; the server may have been restarted meanwhile."""
        while self._idle:
            connection = self._idle.pop()
            try:
                connection.execute("select")
            except psycopg.Error:
                connection.close()
            else:
                return connection
        return None

    def __del__(self) -> None:
        """Whoever kept them is gone."""
        self.close()

    def close(self) -> None:
        """Close those that nobody uses."""
        while self._idle:
            self._idle.pop().close()
