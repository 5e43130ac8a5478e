"""The Spark servers, as they are at this moment."""

from __future__ import annotations

from fastapi import APIRouter

from dataharbour.api.access import CallerDep, Right
from dataharbour.api.answers import needs, problems
from dataharbour.api.schemas.overview import ClusterList, ClusterResource
from dataharbour.api.services import ServicesDep
from dataharbour.errors import Forbidden

router = APIRouter(prefix="/clusters", tags=["clusters"])


@router.get("", responses=problems(Forbidden), openapi_extra=needs(Right.SEE_RUN))
def list_clusters(services: ServicesDep, caller: CallerDep) -> ClusterList:
    """What the Spark servers have and what runs on them, as they say; for whoever may see runs."""
    if not caller.may(Right.SEE_RUN, None):
        raise Forbidden(
            f"{caller.name!r} may not see runs.", "Ask an administrator for the role viewer."
        )
    found = services.clusters()
    now = services.now()
    return ClusterList(items=[ClusterResource.of(cluster, now) for cluster in found])
