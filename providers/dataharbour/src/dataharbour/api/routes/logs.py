"""The log of a run: by page, or as server-sent events while it is written."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from dataharbour.api.access import CallerDep
from dataharbour.api.changes import server_stops, wait_for
from dataharbour.api.resources import log_resource
from dataharbour.api.routes.runs import Cursor, Limit, visible_run
from dataharbour.api.schemas import LogResource, Text
from dataharbour.api.services import Services, ServicesDep
from dataharbour.jobs.model import Run

EVENT_STREAM = "text/event-stream"
END = "end"  # id of the last event: a client that comes back with it has everything
STREAM_S = 120.0  # then the client connects again by itself, where it was
HEARTBEAT_S = 15.0
LOOK_AGAIN_S = 1.0
PAGE_LINES = 1000

router = APIRouter(tags=["runs"])


@router.get(
    "/runs/{run_id}/logs",
    response_model=LogResource,
    responses={
        200: {
            "content": {
                EVENT_STREAM: {
                    "schema": {"type": "string"},
                    "example": 'id: 1.42\\nevent: lines\\ndata: {"items": [...]}\\n\\n',
                }
            }
        },
        204: {"description": "An event stream that was read to its end before."},
    },
)
async def get_log(
    run_id: str,
    services: ServicesDep,
    caller: CallerDep,
    cursor: Cursor = None,
    limit: Limit = PAGE_LINES,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    last_event_id: Annotated[
        Text | None, Header(description="Where an event stream goes on; wins over `cursor`.")
    ] = None,
) -> Response:
    """Log lines of all attempts, oldest first.

    With `Accept: text/event-stream`: events `lines` with `items` as in a page
    while the log grows, `state` when the run's state changes, and one event
    `end` when the run is over.
    """
    run = await run_in_threadpool(visible_run, services, caller, run_id)
    if EVENT_STREAM not in accept:
        page = await run_in_threadpool(services.runs.logs, run.id, cursor=cursor, limit=limit)
        return JSONResponse(log_resource(page).model_dump(mode="json"))
    if last_event_id == END:
        return Response(status_code=204)  # tells an EventSource to stop
    start = last_event_id or cursor
    # The first page is read here, so that a bad cursor is a 422 and not a broken stream.
    await run_in_threadpool(services.runs.logs, run.id, cursor=start, limit=1)
    return StreamingResponse(
        _follow(services, run, start),
        media_type=EVENT_STREAM,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _follow(services: Services, run: Run, cursor: str | None) -> AsyncIterator[str]:
    until = time.monotonic() + STREAM_S
    quiet_since = time.monotonic()
    yield f"retry: 1000\n\n{_state(run)}"
    async with services.changes.of(str(run.id)) as changed:
        while time.monotonic() < until and not server_stops():
            latest = await run_in_threadpool(services.runs.get, run.id)
            if latest.detail is not run.detail:
                yield _state(latest)
                run = latest
            page = await run_in_threadpool(
                services.runs.logs, run.id, cursor=cursor, limit=PAGE_LINES
            )
            cursor = page.next
            if page.items:
                items = log_resource(page).model_dump(mode="json")["items"]
                yield _event("lines", {"items": items}, event_id=cursor or END)
                quiet_since = time.monotonic()
            if page.complete:
                ended = await run_in_threadpool(services.runs.get, run.id)
                yield _state(ended) + _event("end", {}, event_id=END)
                return
            if len(page.items) < PAGE_LINES:
                await wait_for(changed, timeout_s=LOOK_AGAIN_S)
            if time.monotonic() - quiet_since > HEARTBEAT_S:
                yield ": still here\n\n"
                quiet_since = time.monotonic()


def _state(run: Run) -> str:
    return _event("state", {"state": run.state, "detail": run.detail})


def _event(name: str, data: object, *, event_id: str | None = None) -> str:
    position = "" if event_id is None else f"id: {event_id}\n"
    return f"{position}event: {name}\ndata: {json.dumps(data)}\n\n"
