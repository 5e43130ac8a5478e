"""Processes of a driver: start one that dies with us, tell whether one lives, end a group."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None)
_GENERATIONS = 100  # of orphans; more would be a program that runs from us


def dying_with_parent() -> Callable[[], None]:
    """What a child calls before exec, so that it gets SIGKILL when our main thread ends.

    Make and start it in the main thread: the signal follows the thread that forked.
    """
    parent = os.getpid()

    def arm() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before prctl
            os._exit(70)

    return arm


def adopt_orphans() -> None:
    """Make processes that our descendants leave behind our own children."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def start_child(
    command: list[str], *, environment: dict[str, str], folder: Path
) -> subprocess.Popen[bytes]:
    """Start the child in a session of its own, both outputs as pipes."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        preexec_fn=dying_with_parent(),  # no thread has been started yet
    )


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the child and what it started, as long as the child is not reaped."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether the child is over; it stays a zombie, so its group's number is still its own."""
    if process.returncode is not None:
        return True
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, flags) is not None


def reap(process: subprocess.Popen[bytes]) -> int:
    """End what is left of the child's group and of its orphans; the exit code as shells show it."""
    signal_group(process, signal.SIGKILL)
    code = process.wait()
    for _ in range(_GENERATIONS):
        orphans = _children_of_ours()
        if not orphans:
            break
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, ChildProcessError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)  # from now on its own children are ours
    return code if code >= 0 else 128 - code


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def is_running(pid: int, ticks: int) -> bool:
    """Whether that very process (same start) runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    fields = stat.rpartition(")")[2].split()
    return fields[0] not in "ZX" and int(fields[19]) == ticks


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory: of our cgroup, or since boot.

    The count of the machine also has what was killed in other containers.
    """
    for counts in (*_memory_groups(), Path("/proc/vmstat")):
        with contextlib.suppress(OSError, ValueError):
            for line in counts.read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    return 0


def _memory_groups() -> Iterator[Path]:
    """Where the kernel may count for our own cgroup, of version 2 and of version 1."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield Path(f"/sys/fs/cgroup{path}/memory.events")
            elif "memory" in controllers.split(","):
                yield Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control")


def _children_of_ours() -> list[int]:
    pids: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            pids += [int(pid) for pid in (task / "children").read_text().split()]
    return pids
