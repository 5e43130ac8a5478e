"""Change a run that is there: cancel it, or start the same again."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from dataharbour.api.accept import Asked, Submission, accept_run, started_before
from dataharbour.api.access import Caller, CallerDep, Right
from dataharbour.api.answers import header, needs, problems
from dataharbour.api.keys import fingerprint
from dataharbour.api.preconditions import tags
from dataharbour.api.problems import UnsupportedMedia
from dataharbour.api.resources import dag_of, run_resource
from dataharbour.api.routes.runs import visible_run
from dataharbour.api.routes.starting import (
    LOOK_HEADERS,
    NOT_STARTED,
    REPLAYED_RESPONSE,
    IdempotencyKey,
    accepted,
    key_or_new,
    look_again,
)
from dataharbour.api.schemas.requests import CancelRun
from dataharbour.api.schemas.runs import RunResource
from dataharbour.api.services import Services, ServicesDep
from dataharbour.errors import Conflict, RunNotFound, Stale
from dataharbour.jobs.ending import check_version
from dataharbour.jobs.model import ONE_OFF_DAG, Detail, Run, State, request_of
from dataharbour.jobs.states import terminal

IfMatch = Annotated[
    str | None,
    Header(description="The run's ETag: refuse (412) if its state has changed since it was read."),
]

_TAG = re.compile(r'"([0-9]{1,9})(?:-[0-9a-f]{8})?"')  # see `starting.etag`
_IS_CANCELLED = (Detail.CANCELLING, Detail.CANCELLED)

router = APIRouter(prefix="/runs", tags=["runs"])


@router.post(
    "/{run_id}:cancel",
    status_code=202,
    responses=problems(RunNotFound, Conflict, Stale, UnsupportedMedia)
    | {
        202: {
            "description": "It is CANCELLED, or will be.",
            "headers": LOOK_HEADERS
            | header("ETag", "As that of `GET /api/v1/runs/{run_id}`, while nothing changes."),
        }
    },
    openapi_extra=needs(Right.SEE_RUN, Right.END),
)
def cancel_run(
    run_id: str,
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    body: CancelRun | None = None,
    if_match: IfMatch = None,
) -> RunResource:
    """Ask for the end of a run. It is CANCELLED once its driver has stopped.

    The same call again changes nothing.
    """
    run = visible_run(services, caller, run_id, wanted=Right.END)
    try:
        run = services.runs.by(f"user:{caller.name}").cancel(
            run.id,
            grace_s=body.grace_s if body else None,
            version=version_of(run, if_match),
            now=services.now(),
        )
    except Stale:
        run = visible_run(services, caller, run_id)
        if run.detail not in _IS_CANCELLED:  # else it is as the caller wants it
            raise
    if terminal(run.detail) and run.detail is not Detail.CANCELLED:
        raise Conflict(
            f"The run {run.id} is {run.detail}; it has ended and cannot be cancelled.",
            "To run it again: POST runs/ID:retry, or start a new run of the job.",
        )
    resource = run_resource(run, mount=request.scope.get("root_path", ""))
    response.headers.update(look_again(run, resource))
    return resource


@router.post(
    "/{run_id}:retry",
    status_code=202,
    response_model=RunResource,
    responses=REPLAYED_RESPONSE | problems(RunNotFound, Stale, *NOT_STARTED),
    openapi_extra=needs(Right.SEE_RUN, Right.START),
)
async def retry_run(
    run_id: str,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> JSONResponse:
    """Start what a run was again, after it has ended badly: a new run with the same request.

    The application is taken as it is now. For one-off runs the role op is needed as well.
    """
    key = key_or_new(idempotency_key)
    submission = await run_in_threadpool(_again, services, caller, run_id, key, if_match)
    run, replayed = await accept_run(services, submission, caller=caller)
    return accepted(request, run, replayed=replayed, key=key)


def _again(
    services: Services, caller: Caller, run_id: str, key: str, if_match: str | None
) -> Submission | Run:
    run = visible_run(services, caller, run_id)
    if run.dag_id != dag_of(run.job):
        raise Conflict(
            f"The run {run.id} belongs to the DAG {run.dag_id!r}, which decides what it runs.",
            "Clear its task in Airflow.",
        )
    if run.dag_id == ONE_OFF_DAG:
        caller.check_may_operate("start any application")
    caller.check(Right.START, run.dag_id)
    asked = Asked(run.dag_id, key, fingerprint(["retry", str(run.id)]))
    earlier = started_before(services, caller, asked)
    if earlier is not None:
        return earlier
    version_of(run, if_match)
    if not terminal(run.detail) or run.state is State.SUCCEEDED:
        raise Conflict(
            f"The run {run.id} is {run.detail}; only one that has failed can be retried.",
            "Start a new run of the job." if terminal(run.detail) else "Wait for its end.",
        )
    request = request_of(run)
    application = services.application(request.application)
    return Submission(
        request=request,
        application_sha256=application.sha256,
        dag_conf=_dag_conf(run),
        key=key,
        fingerprint=asked.fingerprint,
        retry_of=run.id,
    )


def _dag_conf(run: Run) -> dict[str, Any]:
    """What the DAG run shows; what runs is in our row."""
    if run.job is not None:
        return dict(run.params)
    return {
        "application": run.application,
        "args": list(run.args),
        "conf": dict(run.conf),
        "backend": run.backend,
        "labels": dict(run.labels),
        "timeout_s": run.timeout_s,
        "profile": run.profile,
    }


def version_of(run: Run, if_match: str | None) -> int | None:
    """The version of a run that `If-Match` asks for, or None for any.

    Raises:
        InvalidRequest: it is no list of ETags.
        Stale: the run has none of them.
    """
    wanted = tags("If-Match", if_match)
    if not wanted:
        return None
    versions = {int(found[1]) for tag in wanted if (found := _TAG.fullmatch(tag))}
    if run.version not in versions:
        check_version(run, min(versions, default=0))
    return run.version
