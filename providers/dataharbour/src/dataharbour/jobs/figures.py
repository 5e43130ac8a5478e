"""Count runs, for overviews. Reads only; every number is of the rows that are there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from dataharbour.jobs.model import State
from dataharbour.jobs.statements import AnyConnection, fetch_all, fetch_one, statement
from dataharbour.jobs.states import details_of


@dataclass(frozen=True, slots=True)
class Stats:
    """How runs stand.

    Attributes:
        queued: in the state QUEUED.
        running: in the state RUNNING; the lost ones are neither.
        succeeded: ended since the moment that was asked for, as the two that follow.
        failed: timed out ones included.
        cancelled: skipped ones included.
        duration_p50_s: median of the succeeded ones; None where there is none.
        duration_p95_s: their 95th percentile.
    """

    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    duration_p50_s: float | None
    duration_p95_s: float | None

    @property
    def success_rate(self) -> float | None:
        """Share of the succeeded among those that succeeded or failed; None where there is none."""
        ended = self.succeeded + self.failed
        return self.succeeded / ended if ended else None


@dataclass(frozen=True, slots=True)
class Day:
    """The runs that ended on one day (UTC)."""

    day: date
    succeeded: int
    failed: int
    cancelled: int
    duration_p50_s: float | None


def stats(connection: AnyConnection, dag_ids: Collection[str], *, since: datetime) -> Stats:
    """See `RunStore.stats`."""
    open_ones = {
        "queued": list(map(str, details_of(State.QUEUED))),
        "running": list(map(str, details_of(State.RUNNING))),
    }
    values = {"dag_ids": list(dag_ids), "since": since, **open_ones}
    row = fetch_one(connection, statement("run_stats"), values)
    assert row is not None, "an aggregate has one row"
    return Stats(**row)


def trends(
    connection: AnyConnection, dag_ids: Collection[str], *, days: int, today: date
) -> list[Day]:
    """See `RunStore.trends`."""
    values = {
        "dag_ids": list(dag_ids),
        "first": today - timedelta(days=days - 1),
        "last": today,
    }
    return [
        Day(**row) for row in fetch_all(connection, statement("run_trends"), values, plan_anew=True)
    ]
