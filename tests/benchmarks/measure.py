"""What is measured and how: medians with their spread, CPU and memory of a set of processes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Spread:
    """A figure that was taken several times."""

    median: float
    low: float
    high: float
    runs: int

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f}, n={self.runs})"


def spread(values: Iterable[float]) -> Spread:
    """Median, extremes and count."""
    taken = list(values)
    return Spread(statistics.median(taken), min(taken), max(taken), len(taken))


def timed(work: Callable[[], object]) -> float:
    """Seconds of wall time that `work` takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def in_turn(lanes: Mapping[str, Callable[[], float]], runs: int) -> dict[str, list[float]]:
    """Seconds of each lane, interleaved; the first of each is a warm-up and not counted."""
    taken: dict[str, list[float]] = {name: [] for name in lanes}
    for turn in range(runs + 1):
        for name in list(lanes) if turn % 2 else reversed(list(lanes)):
            taken[name].append(lanes[name]())
    return {name: each[1:] for name, each in taken.items()}


def ratio(ours: Spread, peer: Spread) -> float:
    """Of the medians."""
    return round(ours.median / peer.median, 2)


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of processes and of their children that have ended."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / _TICKS


def pss_bytes(pids: Iterable[int]) -> int:
    """Proportional set size: shared pages counted once over all."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024
