"""The declared jobs: list, look, start a run."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from dataharbour.api.accept import Submission, accept_run
from dataharbour.api.access import Caller, CallerDep
from dataharbour.api.keys import fingerprint
from dataharbour.api.resources import broken_job_resource, dag_of, job_resource
from dataharbour.api.routes.starting import (
    REPLAYED_RESPONSE,
    IdempotencyKey,
    accepted,
    key_or_new,
)
from dataharbour.api.schemas import JobList, JobResource, RunResource, StartJob
from dataharbour.api.services import Services, ServicesDep
from dataharbour.errors import Conflict, JobNotFound
from dataharbour.jobs.applications import resolve_application
from dataharbour.jobs.declared import DeclaredJobs

router = APIRouter(prefix="/jobs", tags=["jobs"])


class JobBroken(Conflict):
    """The job's file is wrong, so it cannot be run; the request was fine."""

    code = "job-broken"


@router.get("")
def list_jobs(request: Request, services: ServicesDep, caller: CallerDep) -> JobList:
    """The declared jobs, by name. One whose file is broken is listed with its error."""
    declared = services.jobs()
    names = sorted({*declared.jobs, *declared.errors})
    return JobList(
        items=[
            _resource(request, declared, name) for name in names if caller.may_read(dag_of(name))
        ]
    )


@router.get("/{name}")
def get_job(name: str, request: Request, services: ServicesDep, caller: CallerDep) -> JobResource:
    """One job."""
    declared = visible_jobs(services, caller, name)
    return _resource(request, declared, name)


@router.post(
    "/{name}/runs", status_code=202, response_model=RunResource, responses=REPLAYED_RESPONSE
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
) -> Submission:
    declared = visible_jobs(services, caller, name)
    caller.check_may_trigger(dag_of(name))
    if name in declared.errors:
        raise JobBroken(declared.errors[name].problem, declared.errors[name].remedy)
    request = declared.jobs[name].request(body.params, body.labels)
    application = resolve_application(request.application, services.settings.applications)
    return Submission(
        request=request,
        application_sha256=application.sha256,
        dag_conf=dict(body.params),
        key=key,
        fingerprint=fingerprint(["jobs", name, body.model_dump(mode="json")]),
    )


def visible_jobs(services: Services, caller: Caller, name: str) -> DeclaredJobs:
    """The declared jobs, when `name` is one of them and the caller may see it.

    Raises:
        JobNotFound: no such job for this caller.
    """
    declared = services.jobs()
    known = name in declared.jobs or name in declared.errors
    if not known or not caller.may_read(dag_of(name)):
        raise JobNotFound(
            f"There is no job {name!r}.", "List them: GET jobs, or harbour job list --jobs."
        )
    return declared


def _resource(request: Request, declared: DeclaredJobs, name: str) -> JobResource:
    mount = request.scope.get("root_path", "")
    if name in declared.jobs:
        return job_resource(declared.jobs[name], mount=mount)
    return broken_job_resource(name, declared.errors[name], mount=mount)
