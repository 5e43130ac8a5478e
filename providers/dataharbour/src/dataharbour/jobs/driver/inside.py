"""`inside.py COMMAND…`: the first process of a container.

Runs the command, passes SIGTERM on to all that runs here, and ends with the
command's exit code. Its standard input is a line to the program that started
the container: when that closes, whoever should watch over the application is
gone, and everything here is killed. The standard library alone: the image's
Python runs this.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

NOT_FOUND = 127
LEFT_ALONE = 70


def main(command: list[str]) -> int:
    """Run `command`; the exit code, as shells show it."""
    wake_in, wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: _all(signal.SIGTERM))
    try:
        first = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return NOT_FOUND
    poll = select.poll()
    poll.register(wake_in, select.POLLIN)
    poll.register(0, select.POLLIN | select.POLLHUP)
    while True:
        for source, _ in poll.poll():
            if source == 0 and not os.read(0, 4096):
                _all(signal.SIGKILL)
                return LEFT_ALONE
        with contextlib.suppress(BlockingIOError):
            os.read(wake_in, 4096)
        code = _reaped(first.pid)
        if code is not None:
            _all(signal.SIGKILL)
            return code


def _reaped(first: int) -> int | None:
    """Take leave of all that has ended; the exit code of `first` if it was among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == first:
                code = os.waitstatus_to_exitcode(status)
                found = code if code >= 0 else 128 - code
    return found


def _all(number: signal.Signals) -> None:
    """Signal every process here but this one; only where this is the first of a container."""
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
