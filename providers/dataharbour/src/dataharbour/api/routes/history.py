"""What happened to a run: its events, by page or as a stream, and its attempts."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from dataharbour.api.access import CallerDep, Right
from dataharbour.api.answers import needs, problems
from dataharbour.api.resources import attempt_resource, event_resource
from dataharbour.api.routes.runs import Cursor, Limit, visible_run
from dataharbour.api.routes.spark_history import pages_address
from dataharbour.api.schemas.runs import AttemptList, EventList
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
from dataharbour.jobs.event_logs import logged_application, page_of

PAGE_EVENTS = 1000

router = APIRouter(tags=["runs"])


@router.get(
    "/runs/{run_id}/events",
    response_model=EventList,
    responses=problems(RunNotFound, ConfigError, LimitReached)
    | stream_responses('id: 42\\nevent: change\\ndata: {"kind": "run.changed", ...}\\n\\n'),
    openapi_extra=needs(Right.SEE_RUN),
)
async def list_events(
    run_id: str,
    services: ServicesDep,
    caller: CallerDep,
    cursor: Cursor = None,
    limit: Limit = 100,
    accept: Accept = "",
    last_event_id: LastEventId = None,
) -> Response:
    """Everything that happened to a run, oldest first.

    While the run goes on, `next` is there also after the newest event: ask with it for what
    follows. With `Accept: text/event-stream`: one event `change` for each, as it happens, and
    one event `end` when the run is over.
    """
    run = await run_in_threadpool(visible_run, services, caller, run_id)
    if EVENT_STREAM not in accept:
        page = await run_in_threadpool(services.runs.event_page, run.id, cursor=cursor, limit=limit)
        resource = EventList(items=[event_resource(each) for each in page.items], next=page.next)
        return JSONResponse(resource.model_dump(mode="json"))
    if last_event_id == END:
        return read_to_its_end()
    start = last_event_id or cursor
    # A first event is read here, so that a bad cursor is a 422 and not a broken stream.
    await run_in_threadpool(services.runs.event_page, run.id, cursor=start, limit=1)
    return event_stream(services, run.id, _EventReader(services, run.id, start), user=caller.name)


@router.get(
    "/runs/{run_id}/attempts",
    responses=problems(RunNotFound),
    openapi_extra=needs(Right.SEE_RUN),
)
def list_attempts(
    run_id: str, request: Request, services: ServicesDep, caller: CallerDep
) -> AttemptList:
    """How often the application was started, and how each of these ended; oldest first."""
    run = visible_run(services, caller, run_id)
    pages = pages_address(run, request)
    items = []
    for attempt in services.runs.attempts(run.id):
        logged = logged_application(attempt.progress, services.settings.event_logs)
        history_url = f"{pages}/{page_of(logged)}" if logged else None
        items.append(attempt_resource(attempt, history_url=history_url))
    return AttemptList(items=items)


class _EventReader:
    """What has happened since the last look."""

    def __init__(self, services: Services, run_id: UUID, cursor: str | None) -> None:
        self._runs = services.runs
        self._run_id = run_id
        self._cursor = cursor

    def __call__(self) -> News:
        """Look once."""
        page = self._runs.event_page(self._run_id, cursor=self._cursor, limit=PAGE_EVENTS)
        self._cursor = page.next
        text = "".join(
            event("change", event_resource(each).model_dump(mode="json"), event_id=str(each.id))
            for each in page.items
        )
        if page.next is None:
            return News(text + the_end(), over=True)
        return News(text, more=len(page.items) == PAGE_EVENTS)
