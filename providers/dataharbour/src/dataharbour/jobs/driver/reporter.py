"""Report to the database: claim, lease, log lines, progress, the end.

Runs in a thread, so that a slow or dead database never holds up the supervisor's
main thread, which reads the child's pipes and watches the deadlines. Losing the
database is met by reconnecting; what was not sent stays in order.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from itertools import accumulate, takewhile
from secrets import token_hex
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import Jsonb

from dataharbour.jobs.driver.lines import Cleaner
from dataharbour.jobs.driver.spec import DriverSpec
from dataharbour.jobs.driver.verdict import Verdict

CHANNEL = "dataharbour_run"
FLUSH_EVERY_S = 0.5
RECONNECT_EVERY_S = 1.0
MAX_WAITING_LINES = 50_000  # kept in memory while the database is away
BATCH_BYTES = 1024 * 1024  # the database takes up to 8 MiB at once
MAX_LOG_BYTES = 60 * 1024 * 1024  # and up to 64 MiB in all
_LINE_OVERHEAD = 40  # time, stream and punctuation of a line in JSON

# No call may hold the thread for longer than the lease can bear.
_BOUNDED = (
    "connect_timeout=5 tcp_user_timeout=10000 keepalives_idle=10 "
    "options='-c statement_timeout=10000'"
)

# Sent again, it would fail again, and hold up what comes after it.
_NEVER_STORED = (psycopg.DataError, psycopg.IntegrityError, UnicodeError)

Line = tuple[float, str, str]


class Reporter:
    """The driver's side of the functions in schema `driver`.

    Attributes:
        cancelled: the run's owner wants it to end.
        grace_s: seconds that the application has for that, from SIGTERM on.
        fenced: the database says that this attempt is over.
        renewed_at: `lease_clock` when the newest renewal was asked for.
    """

    def __init__(self, spec: DriverSpec, *, wake: int) -> None:
        self._spec = spec
        self._wake = wake  # a pipe to the main thread
        self._clean = Cleaner(spec.secrets)
        self._own = [spec.attempt_id, spec.token]
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque()
        self._sending: list[Line] = []  # until the database has confirmed them
        self._dropped = 0  # lines, while the database was away
        self._too_long = 0  # lines, after the log was full
        self._log_bytes = 0
        self._next_line = 1
        self._told: dict[str, dict[str, Any]] = {}  # newest value for each function
        self._verdict: Verdict | None = None
        self._taken = False  # the verdict, by the database
        self._kick_in, self._kick_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._loop, name="reporter", daemon=True)
        self._flushed_at = 0.0
        self._deaf = False  # since the connection was lost: what changed then, nobody told us
        self._finishing = threading.Event()
        self.cancelled = False
        self.grace_s = spec.grace_s
        self.fenced = False
        self.renewed_at = 0.0

    # --- called by the main thread --------------------------------------------------------

    def claim(self, *, patience_s: float = 20.0) -> bool:
        """Take the right to run user code; wait `patience_s` for a database that is away.

        Raises:
            psycopg.OperationalError: it stayed away.
        """
        asked, limit = lease_clock(), time.monotonic() + patience_s
        # Unique, so that the answer to a claim may get lost: asked again, it is still ours.
        holder = f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
        while True:
            try:
                granted = self._claim(holder)
            except psycopg.OperationalError:
                self._drop_connection()
                if time.monotonic() > limit:
                    raise
                time.sleep(RECONNECT_EVERY_S)
                asked = lease_clock()
            else:
                self.renewed_at = asked
                return granted is True

    def _claim(self, holder: str) -> Any:
        spec = self._spec
        if spec.ticket is None:
            return self._call("select driver.claim(%s, %s, %s)", [*self._own, holder])
        values = [spec.attempt_id, spec.ticket, holder, spec.token, spec.external_id]
        return self._call("select driver.claim_by_ticket(%s, %s, %s, %s, %s)", values)

    def start(self) -> None:
        """Begin to renew and to send, if that has not begun."""
        if self._thread.ident is None:
            self._thread.start()

    def log(self, stream: str, lines: list[str]) -> list[str]:
        """Send lines soon; what the database could not take is dropped and counted.

        Returns:
            The lines that were below the log's limit.
        """
        now, fitting = round(time.time(), 3), []
        with self._lock:
            for line in lines:
                if self._log_bytes > MAX_LOG_BYTES and stream != "harbour":
                    self._too_long += 1
                    continue
                self._log_bytes += _size(line)
                self._lines.append((now, stream, line))
                fitting.append(line)
            while len(self._lines) > MAX_WAITING_LINES:
                self._lines.popleft()
                self._dropped += 1
        self._kick()
        return fitting

    def progress(self, value: dict[str, Any]) -> None:
        """Send the newest progress soon."""
        self._tell("progress", value)

    def metrics(self, value: dict[str, Any]) -> None:
        """Send soon what the driver has used so far."""
        self._tell("metrics", value)

    def finish(self, verdict: Verdict, *, patience_s: float) -> bool:
        """Send all that waits, then the end; True once the database has taken it."""
        if self._too_long:
            self.log("harbour", [f"({self._too_long} more lines: the log here is full)"])
        self._verdict = replace(verdict, message=self._clean(verdict.message or "") or None)
        self._finishing.set()
        self._kick()
        self._thread.join(patience_s)
        return self._taken

    def _tell(self, function: str, value: dict[str, Any]) -> None:
        with self._lock:
            self._told[function] = value
        self._kick()

    # --- the thread -----------------------------------------------------------------------

    def _loop(self) -> None:
        while True:
            try:
                self._renew_if_due()
                self._send_told()
                more = self._send_lines()
                if self.fenced or (not more and self._finished()):
                    return
                if self._changed():
                    self._renew(lease_clock())
                elif not more:
                    self._sleep()
            except psycopg.OperationalError:
                self._drop_connection()
                time.sleep(RECONNECT_EVERY_S)
            except Exception as error:
                text = self._clean(f"{type(error).__name__}: {error}").partition("\n")[0]
                print(f"while reporting: {text}", file=sys.stderr, flush=True)  # noqa: T201
                self._drop_connection()
                time.sleep(RECONNECT_EVERY_S)

    def _renew_if_due(self) -> None:
        asked = lease_clock()
        if self._deaf or asked - self.renewed_at >= self._spec.renew_every_s:
            self._renew(asked)

    def _renew(self, asked: float) -> None:
        wanted = self._call("select driver.renew(%s, %s)", self._own)
        self._deaf = False
        if wanted is None:
            self.fenced = True
        else:
            self.renewed_at = asked
            state, _, grace_s = wanted.partition(" ")
            self.cancelled = self.cancelled or state == "CANCELLED"
            self.grace_s = float(grace_s) if grace_s else self.grace_s
        if self.fenced or self.cancelled:
            self._wake_main()

    def _send_told(self) -> None:
        for function, value in list(self._told.items()):
            try:
                self._call(f"select driver.{function}(%s, %s, %s)", [*self._own, Jsonb(value)])
            except psycopg.OperationalError:
                raise  # it stays, for the next connection
            except Exception:
                self._untell(function, value)
                raise
            self._untell(function, value)

    def _untell(self, function: str, value: dict[str, Any]) -> None:
        with self._lock:
            if self._told.get(function) is value:  # else there is a newer one
                del self._told[function]

    def _send_lines(self) -> bool:
        """Send one batch; whether more may wait. A flood must not hold up what else is due."""
        batch = self._batch()
        if not batch:
            return False
        try:
            sent = self._call(
                "select driver.log(%s, %s, %s, %s)", [*self._own, self._next_line, Jsonb(batch)]
            )
        except _NEVER_STORED:
            with self._lock:
                self._dropped += len(batch)
            self._sending = []
            raise
        if sent is None:
            self.fenced = True
            self._wake_main()
            return False
        self._sending = []
        self._next_line = sent
        self._flushed_at = time.monotonic()
        return True

    def _batch(self) -> list[Line]:
        """The oldest lines, as many as one call takes; the same again until they are stored."""
        if self._sending:
            return self._sending
        with self._lock:
            if self._dropped:
                note = f"({self._dropped} lines were dropped: the database did not take them)"
                self._lines.appendleft((round(time.time(), 3), "harbour", note))
                self._dropped = 0
            sizes = accumulate(_size(line) for _, _, line in self._lines)
            taken = sum(1 for _ in takewhile(lambda size: size <= BATCH_BYTES, sizes))
            self._sending = [self._lines.popleft() for _ in range(taken)]
        return self._sending

    def _finished(self) -> bool:
        verdict = self._verdict
        if verdict is None:
            return False
        values = [verdict.state, verdict.exit_code, verdict.failure_class, verdict.message]
        try:
            taken = self._call(
                "select driver.finish(%s, %s, %s, %s, %s, %s)", [*self._own, *values]
            )
        except _NEVER_STORED as error:
            message = f"The cause could not be stored ({type(error).__name__})."
            self._verdict = replace(verdict, message=message)
            raise
        self._taken = taken is True
        return True

    def _sleep(self) -> None:
        """Until there is something to send, the run changed, or the lease wants renewal."""
        connection = self._connected()
        due = self.renewed_at + self._spec.renew_every_s - lease_clock()
        ready, _, _ = select.select([connection.fileno(), self._kick_in], [], [], max(due, 0))
        if self._kick_in in ready:
            pause = self._flushed_at + FLUSH_EVERY_S - time.monotonic()
            if pause > 0:
                self._finishing.wait(pause)
            with contextlib.suppress(BlockingIOError):
                os.read(self._kick_in, 4096)

    def _changed(self) -> bool:
        """Whether somebody else changed our run; also heard while another call was made."""
        connection = self._connected()
        ours = connection.info.backend_pid
        notices = list(connection.notifies(timeout=0))
        return any(n.payload == self._spec.run_id and n.pid != ours for n in notices)

    # --- the connection -------------------------------------------------------------------

    def _call(self, query: str, values: list[Any]) -> Any:
        row = self._connected().execute(query, values).fetchone()
        return row[0] if row else None

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None:
            connection = psycopg.connect(
                make_conninfo(_BOUNDED, **conninfo_to_dict(self._spec.conninfo)),
                autocommit=True,
                application_name="dataharbour driver",
            )
            connection.execute(f"listen {CHANNEL}")
            self._connection = connection
        return self._connection

    def _drop_connection(self) -> None:
        connection, self._connection, self._deaf = self._connection, None, True
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def _kick(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._kick_out, b"k")

    def _wake_main(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"w")


def _size(line: str) -> int:
    """Bytes that a line takes in the database, at most."""
    return len(json.dumps(line, ensure_ascii=False).encode()) + _LINE_OVERHEAD


def lease_clock() -> float:
    """Seconds that also count while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
