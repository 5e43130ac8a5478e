"""`inside.py COMMAND…`: the first process of a container.

Runs the command, passes SIGTERM on to all that runs here, and ends with the
command's exit code. Its standard input is a line to the program that started
the container: when that closes, whoever should watch over the application is
gone, and everything here is killed. The standard library alone: the image's
Python runs this.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys

NOT_FOUND = 127
LEFT_ALONE = 70
KILLED = 128 + signal.SIGKILL
CONTROL = "/run/dataharbour/control"
# Of this container's own control group, of version 2 and of version 1.
COUNTS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


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
            if code == KILLED and _out_of_memory():
                _tell_out_of_memory()
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


def _out_of_memory() -> bool:
    """Whether the kernel has killed a process here for want of memory; not all engines tell."""
    for counts in COUNTS:
        with contextlib.suppress(OSError), open(counts, encoding="ascii") as lines:
            for line in lines:
                name, _, value = line.partition(" ")
                if name == "oom_kill" and int(value):
                    return True
    return False


def _tell_out_of_memory() -> None:
    """What the application, which was killed, could not say itself."""
    message = {
        "kind": "failure",
        "failure_class": "OUT_OF_MEMORY",
        "message": "The container has reached its memory limit, and the kernel killed the driver.",
    }
    with contextlib.suppress(OSError):
        pipe = os.open(CONTROL, os.O_WRONLY | os.O_NONBLOCK)
        os.write(pipe, json.dumps(message).encode() + b"\n")


def _all(number: signal.Signals) -> None:
    """Signal every process here but this one; only where this is the first of a container."""
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
