"""End a child: interrupt its session on the Connect server, SIGTERM, SIGKILL."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

from dataharbour.jobs.driver import process
from dataharbour.jobs.driver.spec import DriverSpec
from dataharbour.jobs.driver.verdict import Stop

RELEASE_WITHIN_S = 20.0  # a busy machine takes seconds to start Python

_NOTHING_DUE_S = 3600.0


class Termination:
    """The steps from "please end" to "is dead": interrupt, SIGTERM, SIGKILL."""

    def __init__(
        self, child: subprocess.Popen[bytes], spec: DriverSpec, note: Callable[[str], None]
    ) -> None:
        self._child = child
        self._spec = spec
        self._note = note
        self._interrupter: subprocess.Popen[bytes] | None = None
        self._terminate_at: float | None = None
        self._kill_at: float | None = None
        self._grace_s = spec.grace_s
        self.released = False  # the session on the Connect server

    def begin(self, reason: Stop, *, grace_s: float) -> None:
        """Start to end the child; a fenced one is killed at once.

        Args:
            reason: why.
            grace_s: seconds from SIGTERM to SIGKILL.
        """
        self._note(f"ending the driver: {reason.value}")
        self._grace_s = grace_s
        now = time.monotonic()
        if reason is Stop.FENCED:
            self.kill()
            return
        if self._spec.session is not None:
            self._interrupter = start_interrupt(self._spec)
            self._terminate_at = now + self._spec.grace_s
        else:
            self._terminate_at = now

    def step(self) -> float:
        """Do what is due; the seconds until something is due again."""
        now = time.monotonic()
        if self._interrupter is not None and self._interrupter.poll() is not None:
            self.released = self._interrupter.returncode == 0
            self._interrupter, self._terminate_at = None, now
        if self._terminate_at is not None and now >= self._terminate_at:
            process.signal_group(self._child, signal.SIGTERM)
            self._terminate_at, self._kill_at = None, now + self._grace_s
        if self._kill_at is not None and now >= self._kill_at:
            self.kill()
        due = [at for at in (self._terminate_at, self._kill_at) if at is not None]
        return min(due) - now if due else _NOTHING_DUE_S

    def kill(self) -> None:
        """SIGKILL to the child and what it started."""
        self._kill_at = None
        process.signal_group(self._child, signal.SIGKILL)


def release_session(spec: DriverSpec) -> None:
    """End what may still run of the attempt's session on its Connect server."""
    interrupter = start_interrupt(spec)
    with contextlib.suppress(subprocess.TimeoutExpired):
        interrupter.wait(RELEASE_WITHIN_S)
    interrupter.kill()
    interrupter.wait()


def start_interrupt(spec: DriverSpec) -> subprocess.Popen[bytes]:
    """Start a program that interrupts the attempt's session on its Connect server."""
    assert spec.session is not None, "only drivers on a Connect server have a session"
    helper = subprocess.Popen(
        [sys.executable, "-m", "dataharbour.jobs.driver.interrupt"], stdin=subprocess.PIPE
    )
    assert helper.stdin is not None, "started with a pipe"
    with contextlib.suppress(BrokenPipeError), helper.stdin as pipe:
        pipe.write(json.dumps(asdict(spec.session)).encode())
    return helper
