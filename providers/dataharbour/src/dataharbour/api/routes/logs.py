"""The log of a run: by page, or as server-sent events while it is written."""

from __future__ import annotations

import time
from uuid import UUID

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from dataharbour.api.access import CallerDep, Right
from dataharbour.api.answers import needs, problems
from dataharbour.api.changes import LOG
from dataharbour.api.resources import log_resource, queue_resource
from dataharbour.api.routes.runs import Cursor, Limit, visible_run
from dataharbour.api.schemas.runs import LogResource
from dataharbour.api.services import Services, ServicesDep
from dataharbour.api.streams import (
    END,
    EVENT_STREAM,
    Accept,
    LastEventId,
    News,
    event,
    event_stream,
    read_to_its_end,
    stream_responses,
    the_end,
)
from dataharbour.errors import ConfigError, LimitReached, RunNotFound
from dataharbour.jobs.model import Detail, Run, State
from dataharbour.jobs.queueing import Queue

PAGE_LINES = 1000
ASK_AGAIN_S = 2.0  # why a run waits

router = APIRouter(tags=["runs"])


@router.get(
    "/runs/{run_id}/logs",
    response_model=LogResource,
    responses=problems(RunNotFound, ConfigError, LimitReached)
    | stream_responses('id: 1.42\\nevent: lines\\ndata: {"items": [...]}\\n\\n'),
    openapi_extra=needs(Right.SEE_RUN, Right.READ_OUTPUT),
)
async def get_log(
    run_id: str,
    services: ServicesDep,
    caller: CallerDep,
    cursor: Cursor = None,
    limit: Limit = PAGE_LINES,
    accept: Accept = "",
    last_event_id: LastEventId = None,
) -> Response:
    """Log lines of all attempts, oldest first.

    With `Accept: text/event-stream`: events `lines` with `items` as in a page
    while the log grows, `state` when the run's state changes, `queue` when it
    waits and the reason changes, and one event `end` when the run is over.
    """
    run = await run_in_threadpool(visible_run, services, caller, run_id, wanted=Right.READ_OUTPUT)
    if EVENT_STREAM not in accept:
        page = await run_in_threadpool(services.runs.logs, run.id, cursor=cursor, limit=limit)
        return JSONResponse(log_resource(page).model_dump(mode="json"))
    if last_event_id == END:
        return read_to_its_end()
    start = last_event_id or cursor
    # A first line is read here, so that a bad cursor is a 422 and not a broken stream.
    await run_in_threadpool(services.runs.logs, run.id, cursor=start, limit=1)
    look = _LogReader(services, run.id, start)
    return event_stream(services, run.id, look, LOG, user=caller.name)


class _LogReader:
    """What a log has got since the last look, and how its run stands."""

    def __init__(self, services: Services, run_id: UUID, cursor: str | None) -> None:
        self._services = services
        self._runs = services.runs
        self._run_id = run_id
        self._cursor = cursor
        self._told: Detail | None = None
        self._waits: Queue | None = None
        self._asked_at = 0.0

    def __call__(self) -> News:
        """Look once."""
        page = self._runs.logs(self._run_id, cursor=self._cursor, limit=PAGE_LINES)
        run = self._runs.get(self._run_id)  # at its end whenever the page is complete
        self._cursor = page.next
        lines = ""
        if page.items:
            items = log_resource(page).model_dump(mode="json")["items"]
            lines = event("lines", {"items": items}, event_id=page.next or END)
        if page.complete:
            return News(lines + self._state(run) + the_end(), over=True)
        return News(self._state(run) + self._queue(run) + lines, more=len(page.items) == PAGE_LINES)

    def _queue(self, run: Run) -> str:
        """Why the run waits, when that has changed since it was last told."""
        if run.state is not State.QUEUED or time.monotonic() < self._asked_at + ASK_AGAIN_S:
            return ""
        self._asked_at = time.monotonic()
        queue = self._services.queues_of(run).get(run.id)
        if queue is None or queue == self._waits:
            return ""
        self._waits = queue
        return event("queue", queue_resource(queue).model_dump(mode="json"))

    def _state(self, run: Run) -> str:
        if run.detail is self._told:
            return ""
        self._told = run.detail
        return event("state", {"state": run.state, "detail": run.detail})
