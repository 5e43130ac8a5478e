"""A platform for benchmarks: a state folder of its own, the DAGs here beside the shipped ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataharbour.testing.adjusted_platform import AdjustedPlatform as BenchPlatform
from dataharbour.testing.adjusted_platform import adjusted_platform

__all__ = ["ROOT", "BenchPlatform", "bench_platform"]

DAGS = Path(__file__).parent / "dags"
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def bench_platform() -> Iterator[BenchPlatform]:
    """A platform that also serves the DAGs of this folder, gone afterwards."""
    with adjusted_platform(ROOT, dags=DAGS, wanted_dag="bench_empty") as platform:
        yield platform
