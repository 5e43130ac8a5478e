"""Spark's own pages of a run's application, after its end: from the history server, for people.

A browser cannot sign requests, so it reads the pages here: of the run's own applications, if its
user may read what the run wrote. An application is the run's if a driver of the run told its id and
its settings name the run: what user code tells may be wrong, the settings of others it cannot set.

What the pages show was written by the job; the history server tells browsers to run no script but
its own (Content-Security-Policy), and what comes without that word runs none.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from dataharbour.api.access import CallerDep, Right
from dataharbour.api.problems import NotConfigured
from dataharbour.api.resources import run_address
from dataharbour.api.routes.runs import visible_run
from dataharbour.api.services import Services, ServicesDep
from dataharbour.errors import ArtifactNotFound, ConfigError
from dataharbour.jobs.event_logs import application_of
from dataharbour.jobs.model import Run
from dataharbour.jobs.spark_history import Answer, SparkHistory

_SEGMENT = r"(?!\.{1,2}(?:/|$))[\w.-]+"
_PAGE = re.compile(rf"(?:history|api/v1/applications)/(?P<id>[\w-]+)(?:/{_SEGMENT})*/?", re.ASCII)
_ASSET = re.compile(rf"static(?:/{_SEGMENT})+", re.ASCII)
_PASSED_ON = (
    "content-type", "content-security-policy", "x-content-type-options", "x-frame-options",
    "cache-control",
)  # fmt: skip
_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
}

router = APIRouter(include_in_schema=False)


@router.get("/runs/{run_id}/spark/{path:path}")
def read_spark_history(
    run_id: str,
    path: Annotated[str, Path()],
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
) -> Response:
    """A page of the history server, if it is about an application of this run."""
    run = visible_run(services, caller, run_id, wanted=Right.READ_OUTPUT)
    if not _is_shown(services, run, path):
        raise _nowhere(run)
    query = quote(request.scope["query_string"], safe="%=&+,;:@/?!$'()*~")
    pages = pages_address(run, request)
    try:
        history = SparkHistory(services.cluster())
        page = _PAGE.fullmatch(path)
        if page is not None and history.run_of(page["id"]) != str(run.id):
            raise _nowhere(run)
        answer = history.get(f"{quote(path)}?{query}" if query else quote(path), below=pages)
    except ConfigError as error:
        raise NotConfigured(error.problem, error.remedy) from error
    return Response(answer.body, answer.status, headers=_headers(answer, pages))


def pages_address(run: Run, request: Request) -> str:
    """Below which path the pages of a run's applications are."""
    return f"{run_address(run, mount=request.scope.get('root_path', ''))}/spark"


def _is_shown(services: Services, run: Run, path: str) -> bool:
    if _ASSET.fullmatch(path):
        return True
    page = _PAGE.fullmatch(path)
    return page is not None and page["id"] in {
        application_of(attempt.progress) for attempt in services.runs.attempts(run.id)
    }


def _nowhere(run: Run) -> ArtifactNotFound:
    return ArtifactNotFound(
        f"The run {run.id} has no Spark application at this address.",
        f"GET runs/{run.id}/attempts tells the `history_url` of those that have one.",
    )


def _headers(answer: Answer, pages: str) -> dict[str, str]:
    headers = _HEADERS | {k: answer.headers[k] for k in _PASSED_ON if k in answer.headers}
    location = answer.headers.get("location")
    if location is not None:  # the server does not know all of its own address
        parts = urlsplit(location)
        path = parts.path if parts.path.startswith(f"{pages}/") else pages + parts.path
        headers["location"] = f"{path}?{parts.query}" if parts.query else path
    return headers
