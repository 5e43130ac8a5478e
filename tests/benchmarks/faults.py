"""Break a platform many times, and count: `./harbour bench faults --trials 200`."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from trials import POINTS, Verdict, attempt, breakable_platform


def faults(trials: int) -> dict[str, str]:
    """So many trials, all points in turn; a line per point."""
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    began = time.monotonic()
    with breakable_platform() as bench:
        for number in range(trials):
            point = POINTS[number % len(POINTS)]
            verdict = attempt(bench, point)
            verdicts[point.name].append(verdict)
            rate_s = (time.monotonic() - began) / (number + 1)
            print(
                f"{number + 1}/{trials} {point.name}: {verdict.state}, "
                f"{verdict.attempts} attempt(s), {verdict.seconds:.0f} s"
                f"{'; WRONG: ' + '; '.join(verdict.wrong) if verdict.wrong else ''} "
                f"({rate_s * (trials - number - 1) / 60:.0f} min left)",
                file=sys.stderr,
                flush=True,
            )
    return {name: _line(found) for name, found in verdicts.items()} | {
        "all": _line([verdict for found in verdicts.values() for verdict in found])
    }


def _line(found: list[Verdict]) -> str:
    wrong = [verdict for verdict in found if verdict.wrong]
    return (
        f"{len(found)} trials, {len(wrong)} wrong, median {median(v.seconds for v in found):.0f} s"
        f" (longest {max(v.seconds for v in found):.0f} s)"
    )
