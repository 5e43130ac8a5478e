"""Say which failures a route answers: for OpenAPI, and for docs/reference/api.md. Pure.

The tests of the API hold every problem that is answered against what is said here.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from dataharbour import errors
from dataharbour.api.access import Right
from dataharbour.api.problems import (
    BodyTooLarge,
    InvalidRequest,
    NotConfigured,
    status_of_kind,
)
from dataharbour.api.schemas.problem import Problem
from dataharbour.errors import DataHarbourError

Responses = dict[int | str, dict[str, Any]]
Kind = type[DataHarbourError]

_OF_TASKS: tuple[Kind, ...] = (errors.JobBusy, errors.VaultBusy)  # what no request meets

CODES = "x-codes"  # of an answer: the values that its `code` may have
RIGHTS = "x-rights"  # of an address: what the auth manager is asked
OPERATE = "PUT configuration"

COMMON: tuple[Kind, ...] = (
    errors.NotAuthenticated,
    errors.Forbidden,
    BodyTooLarge,
    InvalidRequest,
    errors.Unavailable,
    NotConfigured,
    DataHarbourError,
)
"""What every address that needs a user may answer."""


def problems(*kinds: Kind) -> Responses:
    """The `responses` of a route for these failures, by status."""
    by_status: defaultdict[int, list[Kind]] = defaultdict(list)
    for kind in kinds:
        by_status[status_of_kind(kind)].append(kind)
    return {
        status: {
            "model": Problem,
            "description": " ".join(f"`{kind.code}`: {meaning(kind)}" for kind in found),
            CODES: [kind.code for kind in found],
        }
        for status, found in sorted(by_status.items())
    }


def needs(*rights: Right, operate: bool = False) -> dict[str, Any]:
    """The `openapi_extra` of a route that asks for these rights on the DAG of its job or run."""
    asked = [f"{right.method} {right.part or 'DAG'}" for right in rights]
    return {RIGHTS: [*asked, *([OPERATE] if operate else [])]}


def header(name: str, description: str) -> dict[str, Any]:
    """A header of an answer, as OpenAPI describes it."""
    return {name: {"description": description, "schema": {"type": "string"}}}


def common_problems() -> Responses:
    """The answer `default`: what every address may answer."""
    return {
        "default": {
            "model": Problem,
            "description": "A failure.",
            CODES: [kind.code for kind in COMMON],
        }
    }


def meaning(kind: Kind) -> str:
    """The first line of what an error says of itself."""
    if kind is DataHarbourError:
        return "The server met an error of its own."
    return (kind.__doc__ or "").strip().split("\n")[0]


def public_problems() -> list[Kind]:
    """Every error that the API may answer, by code. All modules of the API must be loaded."""
    found: dict[str, Kind] = {}
    for kind in filter(_is_public, _with_subclasses(DataHarbourError)):
        found.setdefault(kind.code, kind)  # a subclass may share the code of its base
    return [found[code] for code in sorted(found)]


def _is_public(kind: Kind) -> bool:
    own = kind.__module__ == errors.__name__ or kind.__module__.startswith("dataharbour.api")
    return (
        own and kind not in _OF_TASKS and (kind is DataHarbourError or status_of_kind(kind) != 500)
    )


def _with_subclasses(kind: Kind) -> list[Kind]:
    return [kind, *(each for child in kind.__subclasses__() for each in _with_subclasses(child))]
