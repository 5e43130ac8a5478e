"""Numbers for an overview: how runs stand, and how they fared day by day."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from dataharbour.api.access import CallerDep, Right
from dataharbour.api.answers import needs
from dataharbour.api.schemas.overview import DashboardStats, DashboardTrends, DayResource
from dataharbour.api.services import ServicesDep

router = APIRouter(prefix="/dashboard", tags=["dashboard"])

Hours = Annotated[int, Query(ge=1, le=24 * 366, description="Ended within so many hours.")]
Days = Annotated[int, Query(ge=1, le=366, description="How many days, today included (UTC).")]


@router.get("/stats", openapi_extra=needs(Right.SEE_JOB, Right.SEE_RUN))
def get_stats(services: ServicesDep, caller: CallerDep, hours: Hours = 24) -> DashboardStats:
    """How the runs that the caller may see stand, and how those fared that ended lately."""
    since = services.now() - timedelta(hours=hours)
    found = services.runs.stats(caller.readable_dags(), since=since)
    return DashboardStats(
        since=since,
        queued=found.queued,
        running=found.running,
        succeeded=found.succeeded,
        failed=found.failed,
        cancelled=found.cancelled,
        success_rate=found.success_rate,
        duration_p50_s=found.duration_p50_s,
        duration_p95_s=found.duration_p95_s,
    )


@router.get("/trends", openapi_extra=needs(Right.SEE_JOB, Right.SEE_RUN))
def get_trends(services: ServicesDep, caller: CallerDep, days: Days = 14) -> DashboardTrends:
    """The runs that the caller may see, by the day on which they ended."""
    today = services.now().date()
    found = services.runs.trends(caller.readable_dags(), days=days, today=today)
    return DashboardTrends(
        items=[
            DayResource(
                day=each.day,
                succeeded=each.succeeded,
                failed=each.failed,
                cancelled=each.cancelled,
                duration_p50_s=each.duration_p50_s,
            )
            for each in found
        ]
    )
