"""Say how things are, to anybody, in single words: livez, readyz, health."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse

from dataharbour.api.answers import problems
from dataharbour.api.problems import NotConfigured, problem_response
from dataharbour.api.services import Services, ServicesDep
from dataharbour.errors import Unavailable

Word = Literal["healthy", "degraded", "down", "unknown", "off"]

WORST_FIRST: tuple[Word, ...] = ("down", "degraded", "unknown", "healthy")

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """One word for the whole, and one per service."""

    status: Word
    services: dict[str, Word]


@router.get("/livez")
async def livez() -> dict[str, str]:
    """This process answers. Nothing else is asked."""
    return {"status": "healthy"}


@router.get("/readyz", response_model=dict[str, str], responses=problems(Unavailable))
def readyz(services: ServicesDep) -> JSONResponse:
    """The API can do its work: its database answers. 503 otherwise."""
    if services.database.answers():
        return JSONResponse({"status": "healthy"})
    return problem_response(
        Unavailable("The database `dataharbour` does not answer.", "Wait, or: harbour status.")
    )


@router.get("/health")
def health(services: ServicesDep) -> Health:
    """How the services are. Always 200; what nobody has looked at is unknown, never healthy."""
    words: dict[str, Word] = {
        "api": "healthy",
        "airflow": "unknown",
        "spark": "unknown",
        "postgres": "healthy" if services.database.answers() else "down",
        "object_store": "unknown",
        "notebooks": _notebooks(services),
    }
    return Health(status=overall(words), services=words)


def _notebooks(services: Services) -> Word:
    """Whether JupyterLab, where it is chosen, takes connections."""
    try:
        url = services.settings.notebooks_url
    except NotConfigured:
        return "unknown"
    if url is None:
        return "off"
    return "healthy" if services.notebooks_answer() else "down"


def overall(words: dict[str, Word]) -> Word:
    """The worst of the words; a service that is switched off does not count."""
    return next(word for word in WORST_FIRST if word in words.values())
