"""What the two POST routes share: the key, the answer, and how their errors read."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import uuid4

from fastapi import Header, Request
from pydantic import StringConstraints
from starlette.responses import JSONResponse

from dataharbour.api.resources import run_resource
from dataharbour.api.schemas import RunResource
from dataharbour.jobs.model import Run

IdempotencyKey = Annotated[
    Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")] | None,
    Header(
        description="Send the same key again to repeat a request safely: it starts one run only. "
        "Without it the server chooses one and answers it.",
    ),
]

REPLAYED_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {
        "model": RunResource,
        "description": "The run that an earlier request with this key had started.",
    }
}


def key_or_new(key: str | None) -> str:
    """The caller's key, or a fresh one."""
    return key or uuid4().hex


def accepted(request: Request, run: Run, *, replayed: bool, key: str) -> JSONResponse:
    """202 for a new run, 200 for one that the key had started before."""
    resource = run_resource(run, mount=request.scope.get("root_path", ""))
    headers = {
        "Location": resource.links["self"],
        "Retry-After": "1",
        "ETag": etag(run),
        "Idempotency-Key": key,
    }
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(
        resource.model_dump(mode="json"), status_code=200 if replayed else 202, headers=headers
    )


def etag(run: Run) -> str:
    """The version of a run, as an entity tag."""
    return f'"{run.version}"'
