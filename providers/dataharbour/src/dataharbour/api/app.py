"""Build the API: layers, routes, error answers. Wires only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer

from dataharbour.api import problems
from dataharbour.api.body_limit import BodyLimit
from dataharbour.api.guard import OPEN_PATHS, Guard
from dataharbour.api.routes import (
    changing,
    dashboard,
    docs,
    health,
    history,
    jobs,
    logs,
    runs,
    sign_in,
)
from dataharbour.api.schemas import Problem
from dataharbour.api.services import Services

DESCRIPTION = """
Start Spark jobs, follow their runs, read their logs.

Every address needs a user of this Airflow, except `livez`, `readyz` and `health`:
send `Authorization: Bearer TOKEN` (from `POST /auth/token`), or use the login cookie.
"""


def create_app(services: Services, *, open_paths: frozenset[str] = OPEN_PATHS) -> FastAPI:
    """The application that Airflow mounts.

    Args:
        services: everything outside.
        open_paths: paths below the mount that need no user.
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
    app.add_middleware(Guard, access=services.access, open_paths=open_paths)  # outermost
    return app


def _versioned() -> APIRouter:
    bearer = HTTPBearer(auto_error=False, description="A token of Airflow.")  # for OpenAPI only
    router = APIRouter(
        prefix="/api/v1",
        dependencies=[Depends(bearer)],
        responses={"default": {"model": Problem, "description": "A failure."}},
    )
    for part in (jobs, runs, history, changing, logs, dashboard):
        router.include_router(part.router)
    return router


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    services: Services = app.state.services
    await services.close()
