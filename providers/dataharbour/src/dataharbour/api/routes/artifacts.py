"""What the attempts of a run have left for people: the executed notebook of a notebook's run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from dataharbour.api.access import CallerDep, Right
from dataharbour.api.answers import needs, problems
from dataharbour.api.resources import run_address
from dataharbour.api.routes.runs import visible_run
from dataharbour.api.schemas.runs import ArtifactList, ArtifactResource
from dataharbour.api.schemas.values import Text
from dataharbour.api.services import Services, ServicesDep
from dataharbour.errors import ArtifactNotFound, RunNotFound
from dataharbour.jobs.driver import artifacts
from dataharbour.jobs.model import Run
from dataharbour.jobs.notebooks import is_notebook

Attempt = Annotated[int | None, Query(ge=1, description="Of this attempt; else the newest.")]

# People's code wrote it: a browser stores it, and runs nothing of it.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "no-store",
}
_NOTEBOOK, _ANYTHING = "application/x-ipynb+json", "application/octet-stream"

router = APIRouter(tags=["runs"])


@router.get(
    "/runs/{run_id}/artifacts",
    responses=problems(RunNotFound),
    openapi_extra=needs(Right.SEE_RUN, Right.READ_OUTPUT),
)
def list_artifacts(
    run_id: str, request: Request, services: ServicesDep, caller: CallerDep
) -> ArtifactList:
    """The files that the run's attempts have left, those of the newest attempt first."""
    run = visible_run(services, caller, run_id, wanted=Right.READ_OUTPUT)
    here = f"{run_address(run, mount=request.scope.get('root_path', ''))}/artifacts"
    items = [
        ArtifactResource(
            name=found.name,
            attempt=number,
            bytes=found.size_bytes,
            modified_at=datetime.fromtimestamp(found.modified_at, UTC),
            links={"self": f"{here}/{found.name}?attempt={number}"},
        )
        for number, folder in _folders(services, run)
        for found in artifacts.listed(folder)
    ]
    return ArtifactList(items=items)


@router.get(
    "/runs/{run_id}/artifacts/{name}",
    response_class=Response,
    responses={
        200: {"content": {_NOTEBOOK: {}, _ANYTHING: {}}},
        **problems(RunNotFound, ArtifactNotFound),
    },
    openapi_extra=needs(Right.SEE_RUN, Right.READ_OUTPUT),
)
def get_artifact(
    run_id: str, name: Text, services: ServicesDep, caller: CallerDep, attempt: Attempt = None
) -> Response:
    """One of them, as a file to store."""
    run = visible_run(services, caller, run_id, wanted=Right.READ_OUTPUT)
    for number, folder in _folders(services, run):
        content = artifacts.read(folder, name) if attempt in (None, number) else None
        if content is not None:
            # The name is letters, digits and ._- only: `artifacts` looks at no other.
            headers = {**_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
            media_type = _NOTEBOOK if is_notebook(name) else _ANYTHING
            return Response(content, media_type=media_type, headers=headers)
    days = services.settings.artifacts_days
    stay = f" They stay for {days} days after the run's end." if days else ""
    raise ArtifactNotFound(
        f"The run {run.id} has no artifact {name[:60]!r}.",
        f"List them: GET runs/{run.id}/artifacts.{stay}",
    )


def _folders(services: Services, run: Run) -> Iterator[tuple[int, Path]]:
    """Number and folder of each attempt, the newest first."""
    for attempt in reversed(services.runs.attempts(run.id)):
        yield attempt.number, services.settings.artifacts / str(attempt.attempt_id)
