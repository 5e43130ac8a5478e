"""What the two POST routes share: the key, the answer, and how their errors read."""

from __future__ import annotations

import zlib
from typing import Annotated
from uuid import uuid4

from fastapi import Header, Request
from pydantic import StringConstraints
from starlette.responses import JSONResponse

from dataharbour import errors
from dataharbour.api.airflow_rest import DagNotReady, RefusedByAirflow
from dataharbour.api.answers import Kind, Responses, header
from dataharbour.api.resources import run_resource
from dataharbour.api.schemas.runs import RunResource
from dataharbour.jobs.model import Run

IdempotencyKey = Annotated[
    Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")] | None,
    Header(
        description="Send the same key again to repeat a request safely: it starts one run only. "
        "Without it the server chooses one and answers it.",
    ),
]

RETRY_AFTER_S = 1
LOOK_HEADERS = {
    **header("Location", "Address of the run."),
    **header("Retry-After", "Seconds to wait before a look."),
}
_STARTED_HEADERS = {
    **LOOK_HEADERS,
    **header(
        "ETag",
        "For `If-Match`. While the run is QUEUED, `GET /api/v1/runs/{run_id}` also tells why "
        "(`queue`), and has another one.",
    ),
    **header("Idempotency-Key", "The caller's, or the server's choice."),
}
_REPLAYED_HEADER = header("Idempotency-Replayed", "`true`")

REPLAYED_RESPONSE: Responses = {
    202: {"description": "The run was accepted.", "headers": _STARTED_HEADERS},
    200: {
        "model": RunResource,
        "description": "The run that an earlier request with this key had started.",
        "headers": _STARTED_HEADERS | _REPLAYED_HEADER,
    },
}
NOT_STARTED: tuple[Kind, ...] = (
    errors.SecretInRequest,
    errors.ApplicationNotFound,
    errors.ApplicationNotAllowed,
    errors.IdempotencyConflict,
    errors.LimitReached,
    errors.Conflict,
    RefusedByAirflow,
    DagNotReady,
)
"""Why a run is not started, whatever it is that starts it."""


def key_or_new(key: str | None) -> str:
    """The caller's key, or a fresh one."""
    return key or uuid4().hex


def accepted(request: Request, run: Run, *, replayed: bool, key: str) -> JSONResponse:
    """202 for a new run, 200 for one that the key had started before."""
    resource = run_resource(run, mount=request.scope.get("root_path", ""))
    headers = look_again(run, resource) | {"Idempotency-Key": key}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(
        resource.model_dump(mode="json"), status_code=200 if replayed else 202, headers=headers
    )


def look_again(run: Run, resource: RunResource) -> dict[str, str]:
    """The headers of an answer to what goes on after it: where to look, when, and what was seen."""
    return {
        "Location": resource.links["self"],
        "Retry-After": str(RETRY_AFTER_S),
        "ETag": etag(run, resource),
    }


def etag(run: Run, resource: RunResource) -> str:
    """An entity tag: the version of a run, and a checksum of all that is shown of it.

    Progress moves without a new version, so the version alone would hide it.
    """
    shown = resource.model_dump_json().encode()
    return f'"{run.version}-{zlib.crc32(shown):08x}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether the caller has this representation already (RFC 9110, 13.1.2: weak comparison)."""
    if if_none_match is None:
        return False
    known = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return tag in known or "*" in known
