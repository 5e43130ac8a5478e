"""Store a job over REST, change it, delete it. A document is kept; nothing makes code of it."""

from __future__ import annotations

from typing import Annotated, Any

import yaml
from fastapi import APIRouter, Header, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from dataharbour.api.access import Caller, CallerDep, Right
from dataharbour.api.answers import header, needs, problems
from dataharbour.api.catalog import etag_of, stored_origin
from dataharbour.api.documents import JSON, YAML, read_document
from dataharbour.api.job_document import job_document_schema
from dataharbour.api.preconditions import check_change
from dataharbour.api.problems import (
    InvalidFields,
    InvalidRequest,
    PreconditionRequired,
    UnsupportedMedia,
)
from dataharbour.api.resources import dag_of, job_resource
from dataharbour.api.routes.jobs import JOB_ETAG, no_such_job
from dataharbour.api.schemas.jobs import JobDetail
from dataharbour.api.services import Services, ServicesDep
from dataharbour.errors import (
    ApplicationNotAllowed,
    ApplicationNotFound,
    ConfigError,
    Conflict,
    ConfNotAllowed,
    JobInvalid,
    JobNotFound,
    SecretInRequest,
    Stale,
)
from dataharbour.jobs.definitions import Definition
from dataharbour.jobs.job_rules import breaches_of, check_document
from dataharbour.jobs.job_spec import JobSpec
from dataharbour.jobs.mirror import is_mirror, mirror_text
from dataharbour.jobs.secrets import check_definition
from dataharbour.quality.suites import load_suite
from dataharbour.settings import Settings

SCHEMA = "include/schemas/job.schema.json"

Name = Annotated[
    str,
    Path(
        pattern=r"^[a-z][a-z0-9_]{0,99}$",
        description="Small letters, digits and _, a letter first, at most 100.",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(description="The job's ETag: 412 if it has changed since; 428 without, if it exists."),
]
IfNoneMatch = Annotated[
    str | None, Header(description="`*`: only create; 412 if the job exists.", examples=["*"])
]


class DeclaredElsewhere(Conflict):
    """The job is a file; what a person wrote into a file is not changed over REST."""

    code = "declared-elsewhere"


router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.put(
    "/{name}",
    response_model=JobDetail,
    responses=problems(
        JobNotFound,
        DeclaredElsewhere,
        Conflict,
        Stale,
        PreconditionRequired,
        UnsupportedMedia,
        ConfigError,
        JobInvalid,
        ConfNotAllowed,
        SecretInRequest,
        ApplicationNotFound,
        ApplicationNotAllowed,
    )
    | {
        200: {"headers": JOB_ETAG},
        201: {
            "model": JobDetail,
            "description": "Created.",
            "headers": JOB_ETAG | header("Location", "Address of the job."),
        },
    },
    openapi_extra=needs(Right.SEE_JOB, Right.CHANGE_JOB, operate=True)
    | {
        "requestBody": {
            "required": True,
            "description": f"What a job file says ({SCHEMA}).",
            "content": {kind: {"schema": job_document_schema()} for kind in (JSON, YAML)},
        }
    },
)
async def put_job(
    name: Name,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Store a job, or change one that is stored. Needs the role op.

    The document is that of a job file, as JSON or YAML. The job's DAG follows within a minute.
    """
    body, kind = await request.body(), request.headers.get("content-type", "")
    return await run_in_threadpool(
        _put, request, services, caller, name, body, kind, if_match, if_none_match
    )


@router.delete(
    "/{name}",
    status_code=204,
    responses=problems(JobNotFound, DeclaredElsewhere, Conflict, Stale, PreconditionRequired),
    openapi_extra=needs(Right.SEE_JOB, Right.DELETE_JOB, operate=True),
)
def delete_job(
    name: Name,
    services: ServicesDep,
    caller: CallerDep,
    if_match: IfMatch = None,
) -> Response:
    """Delete a stored job; its runs and its tables stay. Needs the role op.

    Refused while runs of it have not ended.
    """
    caller.check_may_operate("change jobs")
    catalog = services.catalog()
    if name not in catalog.names or not caller.may(Right.SEE_JOB, dag_of(name)):
        raise no_such_job(name)
    caller.check(Right.DELETE_JOB, dag_of(name))

    def judge(current: Definition | None) -> None:
        _refuse_files(services.settings, name, current)
        tag = None if current is None else etag_of(current)
        check_change(f"The job {name}", tag, if_match=if_match, if_none=None)

    services.definitions.delete(name, judge=judge, user=caller.name, now=services.now())
    return Response(status_code=204)


def _put(
    request: Request,
    services: Services,
    caller: Caller,
    name: str,
    body: bytes,
    content_type: str,
    if_match: str | None,
    if_none_match: str | None,
) -> Response:
    caller.check_may_operate("change jobs")
    if not caller.may(Right.SEE_JOB, dag_of(name)):
        raise no_such_job(name)
    caller.check(Right.CHANGE_JOB, dag_of(name))
    spec = _checked(services, name, read_document(body, content_type))

    def judge(current: Definition | None) -> None:
        _refuse_files(services.settings, name, current)
        tag = None if current is None else etag_of(current)
        check_change(f"The job {name}", tag, if_match=if_match, if_none=if_none_match)
        declared = services.jobs()
        others = [*declared.jobs.values(), *declared.contested.values()]
        check_document(name, spec.document, beside=others)

    stored, is_new = services.definitions.put(
        name, spec.document, judge=judge, user=caller.name, now=services.now()
    )
    # Of what was stored: by now another may have changed or deleted it.
    job = job_resource(spec, stored_origin(stored), mount=request.scope.get("root_path", ""))
    headers = {"ETag": etag_of(stored)}
    if is_new:
        headers["Location"] = job.links["self"]
    return JSONResponse(
        job.model_dump(mode="json"), status_code=201 if is_new else 200, headers=headers
    )


def _checked(services: Services, name: str, document: Any) -> JobSpec:
    """What a document declares, once everything is right about it that can be known now."""
    breaches = breaches_of(document)
    if breaches:
        place, rule = breaches[0]
        more = f" ({len(breaches) - 1} more in `errors`)" if len(breaches) > 1 else ""
        raise InvalidFields(
            f"#{place}: {rule}{more}.",
            f"The schema, {SCHEMA}, describes every field.",
            [{"detail": rule, "pointer": f"#{place}"} for place, rule in breaches[:50]],
        )
    check_definition(document)
    spec = check_document(name, document)
    services.application(spec.application)
    if spec.expectations is not None:
        load_suite(spec.expectations, include_dir=services.settings.include_dir)
    if yaml.safe_load(mirror_text(document, version=0)) != document:
        raise InvalidRequest("The document holds text that YAML cannot keep.", "Leave it out.")
    return spec


def _refuse_files(settings: Settings, name: str, current: Definition | None) -> None:
    """A job that is a file is changed where the file is."""
    in_git, local = (folder / f"{name}.yaml" for folder in settings.job_folders)
    remedy = "Change it there; or remove that file, and store the job here."
    if in_git.exists():
        raise DeclaredElsewhere(f"The job {name} is under version control: {in_git}.", remedy)
    if current is None and local.exists() and not is_mirror(local):
        raise DeclaredElsewhere(f"The job {name} is a file of somebody's own: {local}.", remedy)
