"""What a job's `schedule`, `start` and `end` mean, and which of their fields go together.

Pure. The shapes are those of include/schemas/job.schema.json; `dag_factory` makes
Airflow's timetables of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from dataharbour.jobs.placeholders import OF_THE_OCCASION


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job runs by itself; each field as in the schema."""

    cron: str | None = None
    data_interval: bool = False
    assets: tuple[str, ...] = ()
    when: str = "all"
    partition_key: str | None = None
    partition_offset: int = 0
    partition_by: str | None = None

    @property
    def gives(self) -> frozenset[str]:
        """The placeholders that every run it makes has a value for."""
        if self.partition_key or self.partition_by:
            return frozenset({"partition_key"})
        by_time = self.cron and not self.assets
        return frozenset(OF_THE_OCCASION) - {"partition_key"} if by_time else frozenset()


def schedule_of(said: str | Mapping[str, Any] | None) -> Schedule | None:
    """The schedule that a job file declares, in its short or its long form.

    >>> schedule_of("@daily") == schedule_of({"cron": "@daily"})
    True
    """
    if said is None:
        return None
    if isinstance(said, str):
        return Schedule(cron=said)
    return Schedule(**{**said, "assets": tuple(said.get("assets", ()))})


def contradiction(schedule: Schedule) -> str | None:
    """Which of its fields cannot be together, or None."""
    timed, by_assets = schedule.cron is not None, bool(schedule.assets)
    rules = {
        "needs cron, assets or both": not timed and not by_assets,
        "data_interval needs cron": schedule.data_interval and not timed,
        "when needs assets": schedule.when != "all" and not by_assets,
        "partition_key needs cron, and no assets": bool(schedule.partition_key)
        and (not timed or by_assets),
        "partition_key has no data_interval": bool(schedule.partition_key)
        and schedule.data_interval,
        "partition_offset needs partition_key": bool(schedule.partition_offset)
        and not schedule.partition_key,
        "partition_by needs assets, and no cron": bool(schedule.partition_by)
        and (not by_assets or timed),
    }
    return next((rule for rule, broken in rules.items() if broken), None)


def moment(said: str | None, *, timezone: str, whole_day: bool = False) -> datetime | None:
    """A day or a time of day, as a job file writes it, in the job's zone.

    Args:
        said: e.g. ``2026-01-31`` or ``2026-01-31T06:00``.
        timezone: IANA name.
        whole_day: a day means its last second, not its first.

    Raises:
        ValueError: there is no such day or time.

    >>> moment("2026-01-31", timezone="UTC", whole_day=True).isoformat()
    '2026-01-31T23:59:59+00:00'
    """
    if said is None:
        return None
    at = datetime.fromisoformat(said)
    if whole_day and "T" not in said:
        at = at.replace(hour=23, minute=59, second=59)
    return at.replace(tzinfo=ZoneInfo(timezone))
