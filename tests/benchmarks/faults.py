"""Break a platform many times, and count: `./harbour bench faults --trials 200`."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from queue import SimpleQueue
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from trials import LANES, POINTS, Bench, Point, Verdict, attempt, breakable_platform


def faults(trials: int) -> dict[str, str]:
    """So many trials, all points in turn; a line per point."""
    chosen = list(islice(cycle(POINTS), trials))
    alone = [point for point in chosen if point.alone]
    beside = [point for point in chosen if not point.alone]
    progress = _Progress(trials)
    with breakable_platform() as bench:
        for point in alone:
            progress.heard(attempt(bench, point))
        lanes: SimpleQueue[int] = SimpleQueue()
        for lane in range(LANES):
            lanes.put(lane)
        with ThreadPoolExecutor(LANES) as pool:
            for verdict in pool.map(lambda point: _in_a_lane(bench, point, lanes), beside):
                progress.heard(verdict)
    found = progress.verdicts
    return {name: _line(verdicts) for name, verdicts in found.items()} | {
        "all": _line([verdict for verdicts in found.values() for verdict in verdicts])
    }


def _in_a_lane(bench: Bench, point: Point, lanes: SimpleQueue[int]) -> Verdict:
    lane = lanes.get()
    try:
        return attempt(bench, point, lane=lane)
    finally:
        lanes.put(lane)


class _Progress:
    """Counts trials, and says how far they are."""

    def __init__(self, trials: int) -> None:
        self.verdicts: dict[str, list[Verdict]] = defaultdict(list)
        self._trials = trials
        self._done = 0
        self._began = time.monotonic()

    def heard(self, verdict: Verdict) -> None:
        """One more."""
        self.verdicts[verdict.point].append(verdict)
        self._done += 1
        left_s = (time.monotonic() - self._began) / self._done * (self._trials - self._done)
        print(
            f"{self._done}/{self._trials} {verdict.point}: {verdict.state}, "
            f"{verdict.attempts} attempt(s), {verdict.seconds:.0f} s"
            f"{'; WRONG: ' + '; '.join(verdict.wrong) if verdict.wrong else ''} "
            f"({left_s / 60:.0f} min left)",
            file=sys.stderr,
            flush=True,
        )


def _line(found: list[Verdict]) -> str:
    wrong = sum(bool(verdict.wrong) for verdict in found)
    seconds = [verdict.seconds for verdict in found]
    return (
        f"{len(found)} trials, {wrong} wrong, "
        f"median {median(seconds):.0f} s (longest {max(seconds):.0f} s)"
    )
