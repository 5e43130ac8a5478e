"""What is answered of declared jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

JobSource = Literal["git", "api", "local"]


class JobError(BaseModel):
    """Why a job's file could not be used."""

    code: str
    detail: str
    remedy: str


class OutputResource(BaseModel):
    """A table that a job writes."""

    table: str
    partitioned_by: list[str]


class JobResource(BaseModel):
    """A declared job. When it is broken, `error` says how, and what it declares is null."""

    name: str
    dag_id: str
    source: JobSource = Field(
        description="git: a file of include/jobs; api: stored by PUT; local: a hand-made file of "
        "this installation's state folder. Only those of api can be changed here."
    )
    version: int | None = Field(default=None, description="Of a stored job; grows by changes.")
    etag: str = Field(description="For If-Match.")
    changed_by: str | None = Field(default=None, description="Who stored this version.")
    changed_at: datetime | None = None
    description: str | None = None
    application: str | None = None
    args: list[str] | None = None
    params: dict[str, Any] | None = None
    conf: dict[str, str] | None = None
    backend: str | None = None
    schedule: str | dict[str, Any] | None = None
    timezone: str | None = None
    start: str | None = None
    end: str | None = None
    catchup: bool | None = None
    profile: str | None = None
    timeout_s: float | None = None
    retries: int | None = None
    retry_on: list[str] | None = None
    max_concurrent_runs: int | None = None
    on_busy: str | None = None
    deadline: dict[str, Any] | None = None
    inputs: list[str] | None = None
    outputs: list[OutputResource] | None = None
    expectations: str | None = None
    labels: dict[str, str] | None = None
    error: JobError | None = None
    links: dict[str, str]


class JobDetail(JobResource):
    """A declared job, with the document that declares it."""

    definition: dict[str, Any] | None = Field(
        default=None,
        description="What its file says, to be changed and sent back by PUT. Null where the file "
        "cannot be read.",
    )


class JobList(BaseModel):
    """Jobs by name."""

    items: list[JobResource]
    next: str | None = None
