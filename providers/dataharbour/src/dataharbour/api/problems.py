"""Turn every failure into application/problem+json (RFC 9457). Decides the status of each error."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from dataharbour import errors
from dataharbour.errors import DataHarbourError
from dataharbour.jobs.json_pointer import step
from dataharbour.jobs.secrets import redact_text

log = logging.getLogger(__name__)


class NotConfigured(DataHarbourError):
    """This installation lacks a setting or a connection; the request was fine."""

    code = "not-configured"


class InvalidRequest(DataHarbourError):
    """The request does not follow the schema."""

    code = "invalid-request"


class InvalidFields(InvalidRequest):
    """The request does not follow the schema, in places that can be named.

    Args:
        problem: what is wrong first.
        remedy: what helps.
        details: one entry per place, for the member `errors`.
    """

    def __init__(
        self, problem: str, remedy: str, details: Sequence[Mapping[str, str]] = ()
    ) -> None:
        super().__init__(problem, remedy)
        self.details = details


class UnsupportedMedia(DataHarbourError):
    """A body in a format that the address does not read."""

    code = "unsupported-media-type"


class PreconditionRequired(DataHarbourError):
    """A change that must say which version it is meant for."""

    code = "precondition-required"


class BodyTooLarge(DataHarbourError):
    """The body is over the limit."""

    code = "body-too-large"


class RouteNotFound(DataHarbourError):
    """No such address."""

    code = "route-not-found"


class MethodNotAllowed(DataHarbourError):
    """The address exists, and does not know this method."""

    code = "method-not-allowed"


STATUS: Mapping[type[DataHarbourError], int] = {
    errors.ConfigError: 422,  # a value of the request; our own settings are NotConfigured
    errors.ApplicationNotFound: 422,  # the address exists; what the body names does not
    errors.ApplicationNotAllowed: 422,
    errors.IdempotencyConflict: 422,
    InvalidRequest: 422,
    errors.LimitReached: 429,
    PreconditionRequired: 428,
    UnsupportedMedia: 415,
    BodyTooLarge: 413,
    errors.Stale: 412,
    errors.Conflict: 409,
    MethodNotAllowed: 405,
    RouteNotFound: 404,
    errors.NotFound: 404,
    errors.Forbidden: 403,
    errors.NotAuthenticated: 401,
    errors.Unavailable: 503,
    NotConfigured: 503,
    DataHarbourError: 500,
}

RETRY_AFTER_S = 2
RETRY_LIMITED_S = 10  # what one has too many of ends in its own time


def status_of(error: DataHarbourError) -> int:
    """The HTTP status of an error: that of its closest class in `STATUS`."""
    return status_of_kind(type(error))


def status_of_kind(kind: type[DataHarbourError]) -> int:
    """The HTTP status of a class of errors."""
    return next(STATUS[each] for each in kind.__mro__ if each in STATUS)


def problem_response(
    error: DataHarbourError,
    *,
    headers: Mapping[str, str] | None = None,
    details: Sequence[Mapping[str, str]] = (),
) -> JSONResponse:
    """The answer for an error.

    Args:
        error: what went wrong and what helps.
        headers: further response headers.
        details: one entry per field, for the member `errors`.
    """
    status = status_of(error)
    content: dict[str, Any] = {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": error.code,
        "detail": redact_text(error.problem),
        "remedy": error.remedy,
        "errors": list(details),
    }
    extra = {
        401: {"WWW-Authenticate": "Bearer"},
        429: {"Retry-After": str(RETRY_LIMITED_S)},
        503: {"Retry-After": str(RETRY_AFTER_S)},
    }
    return JSONResponse(
        content,
        status_code=status,
        headers={**extra.get(status, {}), **(headers or {})},
        media_type="application/problem+json",
    )


def install(app: FastAPI) -> None:
    """Make `app` answer every failure as a problem."""
    app.add_exception_handler(DataHarbourError, _expected)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(psycopg.OperationalError, _database)
    app.add_exception_handler(Exception, _unexpected)  # the server itself logs the traceback


def _expected(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DataHarbourError)
    if status_of(error) >= 500:
        log.warning("%s: %s", error.code, redact_text(error.problem))
    return problem_response(error, details=getattr(error, "details", ()))


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    mount = request.scope.get("root_path", "")
    remedy = f"{mount}/docs lists the addresses and their methods."
    problem: DataHarbourError
    if error.status_code == 405:
        problem = MethodNotAllowed(f"{request.url.path} does not know {request.method}.", remedy)
    elif error.status_code == 404:
        problem = RouteNotFound(f"There is nothing at {request.url.path}.", remedy)
    else:
        problem = InvalidRequest(f"{error.detail}.", remedy)
    return problem_response(problem, headers=error.headers)


def _validation(request: Request, error: Exception) -> JSONResponse:
    """Names each field. Values are not repeated: they may be secrets."""
    assert isinstance(error, RequestValidationError)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or kind.endswith("+json")
    unread = (tuple(e["loc"]) == ("body",) and e["type"] != "missing" for e in error.errors())
    if not is_json and any(unread):
        said = f"The body's type is {kind[:60]!r}" if kind else "The body's type is not given"
        return problem_response(
            UnsupportedMedia(
                f"{said}; application/json is read here.",
                "Send the header Content-Type: application/json.",
            )
        )
    details = [_detail(found) for found in error.errors()]
    first = details[0]
    where = first.get("pointer") or first.get("parameter") or "the body"
    more = f" ({len(details) - 1} more in `errors`)" if len(details) > 1 else ""
    mount = request.scope.get("root_path", "")
    return problem_response(
        InvalidRequest(
            f"{where}: {first['detail']}{more}.", f"The schema of this request is in {mount}/docs."
        ),
        details=details,
    )


def _detail(found: Mapping[str, Any]) -> dict[str, str]:
    place, *path = found["loc"]
    message = str(found["msg"]).removeprefix("Value error, ")
    if place == "body":
        if found["type"] == "json_invalid":
            return {"detail": f"not valid JSON ({found.get('ctx', {}).get('error', message)})"}
        return {"detail": message, "pointer": "#" + "".join(map(step, path))}
    return {"detail": message, "parameter": ".".join(map(str, path))}


def _database(_request: Request, error: Exception) -> JSONResponse:
    log.warning("The database `dataharbour` failed: %s", error)
    return problem_response(
        errors.Unavailable(
            "The database `dataharbour` did not answer.",
            "Try again; if it lasts, look at `harbour status` and the API server's log.",
        )
    )


def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    return problem_response(
        DataHarbourError(
            "The server met an error of its own.",
            "Try again; if it lasts, send the API server's log of this moment to its operators.",
        )
    )
