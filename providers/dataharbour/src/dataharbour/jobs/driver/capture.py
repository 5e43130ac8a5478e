"""Hear what a child says: lines on its two outputs, messages on its control pipe.

Its lines go to the run's log, here and in the database. Its messages explain how it goes and how
it ended; user code can write to that pipe as well, so of them only what may be true is believed.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from dataharbour.jobs.driver.lines import Cleaner, LineCutter
from dataharbour.jobs.driver.reporter import Reporter
from dataharbour.jobs.driver.spec import DriverSpec

TAIL_LINES = 20
MAX_MESSAGE = 12_000  # characters of a failure

_COUNTS = (
    "stages_done", "stages", "tasks_done", "tasks",
    "rows_read", "rows_written", "bytes_read", "bytes_written", "cells_done", "cells",
)  # fmt: skip
_MAX_CURRENT = 200  # characters of the line on what runs now
_REPORTED = ("USER_ERROR", "OUT_OF_MEMORY", "INFRA", "CONFIG", "CANCELLED")  # by the child


class Capture:
    """What one child says, without secrets.

    Args:
        spec: the attempt.
        reporter: is told.

    Attributes:
        clean: takes the attempt's secrets out of a text.
        tail: the last lines of standard error.
        report: failure class and message, once the child has told them.
        released: whether the child itself has ended its session on the Connect server.
    """

    def __init__(self, spec: DriverSpec, reporter: Reporter) -> None:
        self._spec = spec
        self._reporter = reporter
        self.clean = Cleaner(spec.secrets)
        self._selector = selectors.DefaultSelector()
        self._copy: IO[str] | None = None
        self._control_rest = b""
        self._application = ""  # the id that Spark gave it
        self._open_pipes = 0
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.report: tuple[str, str] | None = None
        self.released = False

    def open(self) -> None:
        """Begin the attempt's own copy of the log."""
        self._copy = (Path(self._spec.folder) / "driver.log").open("a", encoding="utf-8")

    def close(self) -> None:
        """End that copy."""
        if self._copy is not None:
            with contextlib.suppress(OSError):
                self._copy.close()

    def open_control(self) -> int:
        """Make the control pipe, which must be there before the child."""
        path = Path(self._spec.folder) / "control"
        os.mkfifo(path, 0o600)
        # Also for writing: a pipe that only we hold open reads as empty, not as ended.
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def watch(self, child: subprocess.Popen[bytes], control: int) -> None:
        """Hear the child from now on."""
        self._watch_pipe(child.stdout, "stdout")
        self._watch_pipe(child.stderr, "stderr")
        self.on_readable(control, lambda: self._read_control(control))

    def on_readable(self, file: int | IO[bytes], act: Callable[[], None]) -> None:
        """Have `turn` call `act` whenever there is something to read."""
        self._selector.register(file, selectors.EVENT_READ, act)

    def turn(self, seconds: float) -> None:
        """Hear what there is to be heard; wait for it so long."""
        for key, _ in self._selector.select(seconds):
            key.data()

    def drain(self, *, seconds: float) -> None:
        """Read what the child left in its pipes; a process that escaped may keep them open."""
        until = time.monotonic() + seconds
        while self._open_pipes and (left := until - time.monotonic()) > 0:
            self.turn(left)
        self.turn(0)

    def note(self, text: str) -> None:
        """A line of ours in the run's log."""
        self._keep("harbour", [self.clean(text)])

    # --- lines ----------------------------------------------------------------------------

    def _watch_pipe(self, pipe: IO[bytes] | None, stream: str) -> None:
        assert pipe is not None, "the child was started with pipes"
        cutter = LineCutter(self.clean)
        self._open_pipes += 1

        def read() -> None:
            data = os.read(pipe.fileno(), 65_536)
            self._keep(stream, cutter.feed(data) if data else cutter.end())
            if not data:
                self._selector.unregister(pipe)
                self._open_pipes -= 1

        self.on_readable(pipe, read)

    def _keep(self, stream: str, lines: list[str]) -> None:
        if not lines:
            return
        if stream == "stderr":
            self.tail.extend(lines)
        fitting = self._reporter.log(stream, lines)
        if self._copy is not None:
            with contextlib.suppress(OSError):  # a full disk must not end the run
                self._copy.writelines(f"{line}\n" for line in fitting)
                self._copy.flush()

    # --- messages -------------------------------------------------------------------------

    def _read_control(self, control: int) -> None:
        *complete, self._control_rest = (self._control_rest + os.read(control, 65_536)).split(b"\n")
        for line in complete:
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                self._heard(json.loads(line))

    def _heard(self, message: dict[str, Any]) -> None:
        kind = message.pop("kind")
        if kind == "progress":
            self._reporter.progress(self._told_progress(message))
        elif kind == "application":
            self._note_application(self.clean(str(message["id"]))[:100])
        elif kind == "released":
            self.released = True
        elif kind == "failure":
            # Cut only once the secrets are out: half a secret would not be found.
            text = self.clean(str(message["message"]))[:MAX_MESSAGE]
            known = message["failure_class"] in _REPORTED
            self.report = (message["failure_class"] if known else "USER_ERROR"), text

    def _told_progress(self, message: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = {
            name: message[name] for name in _COUNTS if type(message.get(name)) is int
        }
        if isinstance(current := message.get("current"), str):
            told["current"] = self.clean(current)[:_MAX_CURRENT]
        if self._application:
            told["application"] = self._application
        return told

    def _note_application(self, application_id: str) -> None:
        self._application = application_id
        self.note(f"Spark application {application_id}")
        if not application_id.startswith(self._spec.app_prefix):
            self.note(
                "It runs inside its driver, not on the cluster: the application, or a setting, "
                "names another master."
            )
