"""Measure what the processes of a driver use: memory and processor time.

Reads /proc for all descendants of this process: what the application starts is
below us even when its own parent is gone (`process.adopt_orphans`). Memory is
the proportional share (PSS), so that pages which several processes share count
once. The kernel walks all pages to tell it, so it is asked for only where the
resident sum, which is never smaller, has moved and allows a new peak. What runs
on a Spark Connect server is the server's, and not counted.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_MOVED = 0.01  # of the resident sum, since the shares were last asked for


@dataclass(slots=True)
class Usage:
    """The peak of memory so far, and the processor time so far."""

    peak_bytes: int = 0
    cpu_s: float = 0.0
    _asked_at_bytes: int = 0  # the resident sum, when the shares were last asked for

    def sample(self) -> None:
        """Look at the processes that run now."""
        pids = list(descendants(os.getpid()))
        self.cpu_s = max(self.cpu_s, _ended_cpu_s() + sum(map(_cpu_s, pids)))
        resident = sum(map(_resident_bytes, pids))
        moved = abs(resident - self._asked_at_bytes) > self._asked_at_bytes * _MOVED
        if resident > self.peak_bytes and moved:
            self._asked_at_bytes = resident
            self.peak_bytes = max(self.peak_bytes, sum(map(_share_bytes, pids)))

    def ended(self) -> None:
        """All processes are over: now the kernel has the processor time of each.

        It also knows the peak of the largest one, which two samples may have missed.
        """
        self.cpu_s = max(self.cpu_s, _ended_cpu_s())
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        self.peak_bytes = max(self.peak_bytes, largest)

    def metrics(self) -> dict[str, Any]:
        """What is known, under the names that runs have for it."""
        known = {"peak_memory_bytes": self.peak_bytes, "cpu_s": round(self.cpu_s, 2)}
        return {name: value for name, value in known.items() if value}


def descendants(pid: int) -> Iterator[int]:
    """The children of a process, their children, and so on."""
    for task in _tasks(pid):
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from descendants(int(child))


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:  # it has ended
        return []


def _ended_cpu_s() -> float:
    times = resource.getrusage(resource.RUSAGE_CHILDREN)
    return times.ru_utime + times.ru_stime


def _cpu_s(pid: int) -> float:
    """Of a process and of the children that it has waited for."""
    with suppress(OSError, ValueError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return sum(map(int, stat.rpartition(")")[2].split()[11:15])) / _TICKS_PER_S
    return 0.0


def _resident_bytes(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def _share_bytes(pid: int) -> int:
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return _resident_bytes(pid)
