"""The runs: list, look and wait; start one of any application."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import AwareDatetime, BeforeValidator, WithJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from dataharbour.api.accept import Asked, Submission, accept_run, started_before
from dataharbour.api.access import Caller, CallerDep, Right
from dataharbour.api.answers import header, needs, problems
from dataharbour.api.changes import RUN, server_stops, wait_for
from dataharbour.api.keys import fingerprint
from dataharbour.api.problems import InvalidRequest, UnsupportedMedia
from dataharbour.api.resources import run_resource
from dataharbour.api.routes.jobs import visible_jobs
from dataharbour.api.routes.starting import (
    NOT_STARTED,
    REPLAYED_RESPONSE,
    IdempotencyKey,
    accepted,
    etag,
    key_or_new,
    matches,
)
from dataharbour.api.schemas.requests import StartRun
from dataharbour.api.schemas.runs import RunList, RunResource
from dataharbour.api.schemas.values import Text
from dataharbour.api.services import Services, ServicesDep
from dataharbour.errors import (
    ConfigError,
    ConfNotAllowed,
    JobNotFound,
    LimitReached,
    RunNotFound,
)
from dataharbour.jobs.conf import check_conf
from dataharbour.jobs.model import ONE_OFF_DAG, Run, RunFilter, RunRequest, State
from dataharbour.jobs.notebooks import check_notebook
from dataharbour.jobs.placeholders import resolve_args
from dataharbour.jobs.states import terminal

MAX_WAIT_S = 60
LOOK_AGAIN_S = 2.0  # while waiting, in case nobody tells us of a change


def _seconds(given: object) -> object:
    """`30s` is `30`."""
    return given.removesuffix("s") if isinstance(given, str) else given


Wait = Annotated[
    float,
    Query(
        ge=0,
        allow_inf_nan=False,
        description="Seconds to wait for the run's end, e.g. `30` or `30s`; a minute at most.",
    ),
    BeforeValidator(_seconds),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?s?$", "examples": ["30s"]}),
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of the page.")]
Cursor = Annotated[Text | None, Query(description="`next` of the page before.")]
StateFilter = Annotated[State | None, Query(description="Only runs in this state.")]
LabelFilter = Annotated[
    Sequence[Text], Query(alias="label", description="NAME=VALUE; given twice: both.")
]

IfNoneMatch = Annotated[
    str | None, Header(description="ETags that the caller has: 304 if the run is still so.")
]

_SHOWN = header("ETag", "Of all that is shown.")

router = APIRouter(tags=["runs"])


@dataclass(frozen=True)
class Narrowed:
    """The filters that both lists have; they combine."""

    state: StateFilter = None
    labels: LabelFilter = ()
    user: Annotated[Text | None, Query(description="Only runs that this user wanted.")] = None
    since: Annotated[AwareDatetime | None, Query(description="Only runs made then or later.")] = (
        None
    )
    until: Annotated[AwareDatetime | None, Query(description="Only runs made before.")] = None
    cursor: Cursor = None
    limit: Limit = 100


@router.get(
    "/runs",
    response_model=RunList,
    responses=problems(ConfigError),
    openapi_extra=needs(Right.SEE_JOB, Right.SEE_RUN),
)
def list_runs(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    narrowed: Annotated[Narrowed, Depends()],
    job: Annotated[Text | None, Query(description="Only runs of this job.")] = None,
) -> Response:
    """The runs that the caller may see, newest first."""
    return _page(request, services, caller, narrowed, job=job)


@router.get(
    "/jobs/{name}/runs",
    response_model=RunList,
    responses=problems(JobNotFound, ConfigError),
    openapi_extra=needs(Right.SEE_JOB, Right.SEE_RUN),
)
def list_runs_of_job(
    name: str,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    narrowed: Annotated[Narrowed, Depends()],
) -> Response:
    """The runs of one job, newest first."""
    visible_jobs(services, caller, name)
    return _page(request, services, caller, narrowed, job=name)


@router.post(
    "/runs",
    status_code=202,
    response_model=RunResource,
    responses=REPLAYED_RESPONSE
    | problems(ConfigError, ConfNotAllowed, UnsupportedMedia, *NOT_STARTED),
    openapi_extra=needs(Right.START, operate=True),
)
async def start_run(
    body: StartRun,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Start a run of any application below an allowed root. Needs the role op."""
    key = key_or_new(idempotency_key)
    submission = await run_in_threadpool(_submission, services, caller, body, key)
    run, replayed = await accept_run(services, submission, caller=caller)
    return accepted(request, run, replayed=replayed, key=key)


@router.get(
    "/runs/{run_id}",
    response_model=RunResource,
    responses=problems(RunNotFound, LimitReached)
    | {
        200: {"headers": _SHOWN},
        304: {"description": "It is as an ETag in `If-None-Match` says.", "headers": _SHOWN},
    },
    openapi_extra=needs(Right.SEE_RUN),
)
async def get_run(
    run_id: str,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    wait: Wait = 0,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One run. With `wait`, answers when the run has ended, at the latest after so many seconds.

    Its ETag changes with everything that is shown here. `If-Match` of the calls that change a
    run asks for less: that its state is still the one that was read.
    """
    run = await run_in_threadpool(visible_run, services, caller, run_id)
    if wait and not terminal(run.detail):
        with services.places.take(caller.name, at_most=services.settings.max_streams_per_user):
            run = await _ended(services, run, request, timeout_s=min(wait, MAX_WAIT_S))
    queue = (await run_in_threadpool(services.queues_of, run)).get(run.id)
    resource = run_resource(run, mount=request.scope.get("root_path", ""), queue=queue)
    headers = {"ETag": etag(run, resource), "Cache-Control": "private, no-cache"}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return JSONResponse(resource.model_dump(mode="json"), headers=headers)


def visible_run(
    services: Services, caller: Caller, run_id: str, *, wanted: Right | None = None
) -> Run:
    """A run that the caller may see. One that is not theirs looks like one that is not there.

    Args:
        services: where it is.
        caller: who asks.
        run_id: its id, as it was sent.
        wanted: what the caller needs besides.

    Raises:
        RunNotFound: no such run for this caller.
        Forbidden: they may see it, and no more.
    """
    nowhere = RunNotFound(
        f"There is no run {run_id[:60]!r}.", "List them: GET runs, or harbour job list."
    )
    try:
        run = services.runs.get(UUID(run_id))
    except (ValueError, RunNotFound):
        raise nowhere from None
    if not caller.may(Right.SEE_RUN, run.dag_id):
        raise nowhere
    if wanted is not None:
        caller.check(wanted, run.dag_id)
    return run


def _page(
    request: Request, services: Services, caller: Caller, narrowed: Narrowed, *, job: str | None
) -> Response:
    """A page of the runs whose DAGs the caller may see; a job can run in several DAGs."""
    wanted = RunFilter(
        state=narrowed.state,
        job=job,
        dag_ids=caller.readable_dags(),
        labels=_labels(narrowed.labels),
        principal=narrowed.user,
        since=narrowed.since,
        until=narrowed.until,
    )
    page = services.runs.list(wanted, limit=narrowed.limit, cursor=narrowed.cursor)
    mount = request.scope.get("root_path", "")
    queues = services.queues_of(*page.items)
    found = RunList(
        items=[run_resource(run, mount=mount, queue=queues.get(run.id)) for run in page.items],
        next=page.next,
    )
    # Written here: FastAPI would check each run of the page a second time.
    return Response(found.model_dump_json(), media_type="application/json")


async def _ended(services: Services, run: Run, request: Request, *, timeout_s: float) -> Run:
    """The run at its end; sooner when the time is over, or nobody waits any more."""
    deadline = time.monotonic() + timeout_s
    async with services.changes.of(str(run.id), RUN) as changed:
        while True:
            run = await run_in_threadpool(services.runs.get, run.id)
            left_s = deadline - time.monotonic()
            if terminal(run.detail) or left_s <= 0 or server_stops():
                return run
            await wait_for(changed, timeout_s=min(left_s, LOOK_AGAIN_S))
            if await request.is_disconnected():
                return run


def _submission(services: Services, caller: Caller, body: StartRun, key: str) -> Submission | Run:
    caller.check_may_operate("start any application")
    caller.check(Right.START, ONE_OFF_DAG)
    asked = Asked(ONE_OFF_DAG, key, fingerprint(["runs", body.model_dump(mode="json")]))
    earlier = started_before(services, caller, asked)
    if earlier is not None:
        return earlier
    conf = check_conf(body.conf, backend=body.backend)
    resolve_args(body.args, lake="", output="", params={})  # an unknown {placeholder} fails now
    check_notebook(body.application, backend=body.backend, args=body.args)
    application = services.application(body.application)
    request = RunRequest(
        application=body.application,
        args=tuple(body.args),
        conf=conf,
        backend=body.backend,
        labels=body.labels,
        timeout_s=body.timeout_s,
        profile=body.profile,
    )
    dag_conf: dict[str, Any] = body.model_dump(mode="json") | {"conf": conf}
    return Submission(
        request=request,
        application_sha256=application.sha256,
        dag_conf=dag_conf,
        key=key,
        fingerprint=asked.fingerprint,
    )


def _labels(given: Sequence[str]) -> dict[str, str]:
    labels = {}
    for label in given:
        name, equals, value = label.partition("=")
        if not (name and equals):
            raise InvalidRequest(
                f"label: {label[:60]!r} is not NAME=VALUE.", "E.g. ?label=team=ops"
            )
        labels[name] = value
    return labels
