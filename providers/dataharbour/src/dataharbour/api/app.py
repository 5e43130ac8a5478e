"""Build the API: layers, routes, error answers. Wires only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from dataharbour.api import problems
from dataharbour.api.answers import common_problems
from dataharbour.api.body_limit import BodyLimit
from dataharbour.api.guard import Guard
from dataharbour.api.routes import (
    artifacts,
    changing,
    clusters,
    dashboard,
    definitions,
    docs,
    health,
    history,
    jobs,
    logs,
    repairing,
    runs,
    sign_in,
    spark_history,
)
from dataharbour.api.services import Services
from dataharbour.errors import DataHarbourError

log = logging.getLogger(__name__)

DESCRIPTION = """
Start Spark jobs, follow their runs, read their logs.

Every address needs a user of this Airflow, except `livez`, `readyz` and `health`
(and `sign-in`, which takes its own ticket):
send `Authorization: Bearer TOKEN` (from `POST /auth/token`), or use the login cookie.
"""


def create_app(services: Services) -> FastAPI:
    """The application that Airflow mounts.

    Args:
        services: everything outside.
    """
    app = FastAPI(
        title="DataHarbour",
        version="1",
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,  # ours are behind the guard and need no internet
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    problems.install(app)
    app.include_router(health.router)
    app.include_router(sign_in.router)
    app.include_router(docs.router)
    app.include_router(_versioned())
    docs.mount_assets(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Guard, access=services.access)  # outermost
    return app


def _versioned() -> APIRouter:
    bearer = HTTPBearer(auto_error=False, description="A token of Airflow.")  # for OpenAPI only
    router = APIRouter(
        prefix="/api/v1",
        dependencies=[Depends(bearer)],
        responses=common_problems(),
    )
    for part in (
        jobs,
        definitions,
        runs,
        history,
        changing,
        repairing,
        logs,
        artifacts,
        spark_history,
        dashboard,
        clusters,
    ):
        router.include_router(part.router)
    return router


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    mending = asyncio.create_task(run_in_threadpool(_mend_mirror, services))
    yield
    with suppress(asyncio.CancelledError):
        await mending
    await services.close()


def _mend_mirror(services: Services) -> None:
    """Make the files of stored jobs say what the database does: a crash may have come between."""
    try:
        mended = services.definitions.repair()
    except (DataHarbourError, psycopg.Error) as error:
        log.warning("The files of stored jobs were not looked at: %s", error)
        return
    if mended:
        log.warning("The files of these stored jobs were wrong, and are mended: %s", mended)
