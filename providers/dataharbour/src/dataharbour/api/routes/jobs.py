"""The declared jobs: list, look, start a run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from dataharbour.api.accept import Asked, Submission, accept_run, started_before
from dataharbour.api.access import Caller, CallerDep, Right
from dataharbour.api.answers import header, needs, problems
from dataharbour.api.catalog import Catalog
from dataharbour.api.keys import fingerprint
from dataharbour.api.problems import UnsupportedMedia
from dataharbour.api.resources import broken_job_resource, dag_of, job_resource
from dataharbour.api.routes.starting import (
    NOT_STARTED,
    REPLAYED_RESPONSE,
    IdempotencyKey,
    accepted,
    key_or_new,
)
from dataharbour.api.schemas.jobs import JobDetail, JobList, JobResource
from dataharbour.api.schemas.requests import StartJob
from dataharbour.api.schemas.runs import RunResource
from dataharbour.api.schemas.values import Text
from dataharbour.api.services import Services, ServicesDep
from dataharbour.errors import ConfigError, Conflict, JobInvalid, JobNotFound
from dataharbour.jobs.declared import DeclaredJobs
from dataharbour.jobs.model import Run

router = APIRouter(prefix="/jobs", tags=["jobs"])


class JobBroken(Conflict):
    """The job's file is wrong, so it cannot be run; the request was fine."""

    code = "job-broken"


@router.get("", openapi_extra=needs(Right.SEE_JOB))
def list_jobs(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    cursor: Annotated[Text | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most items of the page.")] = 100,
) -> JobList:
    """The declared jobs, by name. One that is broken is listed with its error."""
    catalog = services.catalog()
    left = [name for name in catalog.names if cursor is None or name > cursor]
    visible = caller.visible_dags([dag_of(name) for name in left])
    names = [name for name in left if dag_of(name) in visible]
    return JobList(
        items=[
            JobResource.model_validate(described(request, catalog, name), from_attributes=True)
            for name in names[:limit]
        ],
        next=names[limit - 1] if len(names) > limit else None,
    )


JOB_ETAG = header("ETag", "For `If-Match`.")


@router.get(
    "/{name}",
    responses=problems(JobNotFound) | {200: {"headers": JOB_ETAG}},
    openapi_extra=needs(Right.SEE_JOB),
)
def get_job(
    name: str, request: Request, response: Response, services: ServicesDep, caller: CallerDep
) -> JobDetail:
    """One job, with the document that declares it."""
    catalog = services.catalog()
    if name not in catalog.names or not caller.may(Right.SEE_JOB, dag_of(name)):
        raise no_such_job(name)
    job = described(request, catalog, name)
    response.headers["ETag"] = job.etag
    return job


@router.post(
    "/{name}/runs",
    status_code=202,
    response_model=RunResource,
    responses=REPLAYED_RESPONSE
    | problems(JobNotFound, JobBroken, JobInvalid, ConfigError, UnsupportedMedia, *NOT_STARTED),
    openapi_extra=needs(Right.SEE_JOB, Right.START),
)
async def start_job(
    name: str,
    body: StartJob,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Start a run of a job with these parameters."""
    key = key_or_new(idempotency_key)
    submission = await run_in_threadpool(_submission, services, caller, name, body, key)
    run, replayed = await accept_run(services, submission, caller=caller)
    return accepted(request, run, replayed=replayed, key=key)


def _submission(
    services: Services, caller: Caller, name: str, body: StartJob, key: str
) -> Submission | Run:
    if not caller.may(Right.SEE_JOB, dag_of(name)):
        raise no_such_job(name)
    caller.check(Right.START, dag_of(name))
    asked = Asked(dag_of(name), key, fingerprint(["jobs", name, body.model_dump(mode="json")]))
    earlier = started_before(services, caller, asked)
    if earlier is not None:
        return earlier
    declared = visible_jobs(services, caller, name)
    if name in declared.errors:
        raise JobBroken(declared.errors[name].problem, declared.errors[name].remedy)
    request = declared.jobs[name].request(body.params, body.labels)
    application = services.application(request.application)
    return Submission(
        request=request,
        application_sha256=application.sha256,
        dag_conf=dict(body.params),
        key=key,
        fingerprint=asked.fingerprint,
    )


def visible_jobs(services: Services, caller: Caller, name: str) -> DeclaredJobs:
    """The declared jobs, when `name` is one of them and the caller may see it.

    Raises:
        JobNotFound: no such job for this caller.
    """
    declared = services.jobs()
    if name not in {*declared.jobs, *declared.errors}:
        declared = services.catalog().declared  # the file of a stored job may have been lost
    known = name in declared.jobs or name in declared.errors
    if not known or not caller.may(Right.SEE_JOB, dag_of(name)):
        raise no_such_job(name)
    return declared


def no_such_job(name: str) -> JobNotFound:
    """The answer for a job that is not there, or that the caller may not see."""
    return JobNotFound(
        f"There is no job {name!r}.", "List them: GET jobs, or harbour job list --jobs."
    )


def described(request: Request, catalog: Catalog, name: str) -> JobDetail:
    """A job of the catalog."""
    mount, origin = request.scope.get("root_path", ""), catalog.origin(name)
    if name in catalog.declared.jobs:
        return job_resource(catalog.declared.jobs[name], origin, mount=mount)
    return broken_job_resource(name, catalog.declared.errors[name], origin, mount=mount)
