"""What is answered where something is wrong."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ProblemDetail(BaseModel):
    """What is wrong with one field."""

    detail: str
    pointer: str | None = Field(default=None, description="Place in the body (RFC 6901).")
    parameter: str | None = Field(default=None, description="Name of a query parameter or header.")


class Problem(BaseModel):
    """A failure (RFC 9457); machines match on `code`."""

    title: str
    status: int
    code: str
    detail: str
    remedy: str
    errors: list[ProblemDetail]
