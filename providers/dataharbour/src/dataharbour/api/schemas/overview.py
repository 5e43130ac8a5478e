"""What is answered of the whole: figures of all runs, and the Spark servers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dataharbour.jobs.clusters import Cluster


class DashboardStats(BaseModel):
    """How runs stand. Rates and durations are null where there is nothing to measure."""

    since: datetime
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    success_rate: float | None
    duration_p50_s: float | None
    duration_p95_s: float | None


class DayResource(BaseModel):
    """The runs that ended on one day (UTC)."""

    day: date
    succeeded: int
    failed: int
    cancelled: int
    duration_p50_s: float | None


class DashboardTrends(BaseModel):
    """Days, oldest first."""

    items: list[DayResource]


class WorkerResource(BaseModel):
    """A worker of a standalone cluster."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    host: str
    state: str = Field(description="As the master calls it: ALIVE, DEAD, …")
    cores: int
    cores_used: int
    memory_mb: int
    memory_used_mb: int


class WorkResource(BaseModel):
    """An application or a driver that a standalone cluster works on, or has in its queue."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="`app-…` or `driver-…`; the log of its run names it.")
    state: str = Field(description="As the master calls it: WAITING, RUNNING, SUBMITTED, …")
    cores: int
    since: datetime
    memory_mb: int | None = Field(description="Of a driver.")


class ClusterResource(BaseModel):
    """A Spark server at one moment; null: it does not tell."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="The backend that uses it.")
    state: Literal["healthy", "degraded", "unknown", "off"]
    reason: str | None = Field(description="Why it is not healthy.")
    address: str | None
    version: str | None
    cores: int | None = Field(description="Of the workers that live.")
    cores_used: int | None
    memory_mb: int | None
    memory_used_mb: int | None
    workers: list[WorkerResource] | None
    applications: list[WorkResource] | None
    drivers: list[WorkResource] | None
    running_jobs: int | None = Field(description="Spark jobs of all sessions of a Connect server.")
    observed_at: datetime

    @classmethod
    def of(cls, cluster: Cluster, now: datetime) -> ClusterResource:
        """The resource of what was seen."""
        names = set(cls.model_fields) - {"observed_at"}
        return cls.model_validate({name: getattr(cluster, name) for name in names}
                                  | {"observed_at": now})  # fmt: skip


class ClusterList(BaseModel):
    """The Spark servers."""

    items: list[ClusterResource]
    next: None = None
