"""`python -m dataharbour.jobs.driver.standby FOLDER`: a driver that waits for its attempt.

Starting Python twice and importing Spark's client is most of what a short run takes. Here both
processes of a driver, supervisor and child, have done that before: the supervisor waits at a
socket (`handover`) for a spec, then claims the attempt and lets its child begin. For one attempt
only, and for drivers of the backend `connect` whose environment could have been this one's.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dataharbour.jobs.driver import process, supervisor
from dataharbour.jobs.driver.handover import Post
from dataharbour.jobs.driver.spec import DriverSpec

CHILD = Path(__file__).with_name("child.py")
WAIT = "--wait"
# What Python and its libraries read when they start: of these nothing can be changed afterwards.
_EARLY = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "PATH", "OMP_", "OPENBLAS_", "MKL_", "MALLOC_",
          "ARROW_", "GRPC_")  # fmt: skip


class Prepared:
    """The child: it has imported Spark's client, and waits for what to run.

    Args:
        environment: what it is started with.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        # As `child_environment` marks it: `harbour down` lets its supervisor end it.
        self._environment = {**environment, "HARBOUR_SERVICE": "application"}
        self._channel, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, str(CHILD), WAIT],
                cwd="/",
                env=self._environment,
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                preexec_fn=process.dying_with_parent(),
            )

    def fileno(self) -> int:
        """Readable when it is ready, or gone."""
        return self._channel.fileno()

    def is_ready(self) -> bool:
        """Wait until it is; False when it is gone."""
        return bool(self._channel.recv(16))

    def fits(self, spec: DriverSpec) -> bool:
        """Whether it may become the child of that driver."""
        if spec.session is None or spec.command[:2] != [sys.executable, str(CHILD)]:
            return False
        wanted = spec.environment
        return all(
            wanted.get(name) == self._environment.get(name)
            for name in {*wanted, *self._environment}
            if name.startswith(_EARLY)
        )

    def begin(
        self, command: list[str], *, environment: dict[str, str], folder: Path
    ) -> subprocess.Popen[bytes]:
        """Let it run; in place of `process.start_child`."""
        work = {"arguments": command[2:], "environment": environment, "folder": str(folder)}
        self._channel.sendall(json.dumps(work).encode() + b"\n")
        self._channel.close()
        return self.process

    def close(self) -> None:
        """End it, and what it has started."""
        self._channel.close()
        process.reap(self.process)


def main(folder: Path) -> int:
    """Wait for one spec, and supervise that driver."""
    child = Prepared(os.environ)
    if not child.is_ready():
        child.close()
        return 1
    post = Post(folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    taken: list[DriverSpec] = []

    def take(file: Path) -> bool:
        spec = _read(file)
        if spec is None or not child.fits(spec):
            return False
        with contextlib.suppress(OSError):  # somebody was faster
            taken.append(DriverSpec.take(file))
        return bool(taken)

    try:
        while True:
            ready, _, _ = select.select([post.fileno(), child.fileno()], [], [])
            if child.fileno() in ready:  # it says nothing any more: it is gone
                return 1
            if post.answer(take):
                break
    finally:
        if not taken:
            post.close()
            child.close()
    spec = taken[0]
    _write_into(Path(spec.folder) / "supervisor.log")
    return supervisor.main(spec, start_child=child.begin)


def _read(file: Path) -> DriverSpec | None:
    try:
        return DriverSpec.read(file)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write_into(log: Path) -> None:
    """Standard output and error, as a supervisor of its own has them."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
