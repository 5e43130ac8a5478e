"""Send what happens to a run as server-sent events, until it has ended.

Each event that has an `id` is a position: a client that comes back with it in
`Last-Event-ID` gets what follows, each thing once. A reader that leaves takes
its waiter, and the last one the database connection, with it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import psycopg
from fastapi import Header
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from dataharbour.api.changes import RUN, server_stops, wait_for
from dataharbour.api.places import BoundedStream
from dataharbour.api.schemas.values import Text
from dataharbour.api.services import Services
from dataharbour.errors import RunNotFound, Unavailable

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
END = "end"  # id of the last event: a client that comes back with it has everything
STREAM_S = 120.0  # then the client connects again by itself, where it was
HEARTBEAT_S = 15.0
LOOK_AGAIN_S = 1.0  # in case nobody tells us of a change

Accept = Annotated[str, Header(include_in_schema=False)]
LastEventId = Annotated[
    Text | None, Header(description="Where an event stream goes on; wins over `cursor`.")
]


@dataclass(frozen=True, slots=True)
class News:
    """What one look has found.

    Attributes:
        text: events to send, or nothing.
        more: there is more already: look again at once.
        over: nothing will follow.
    """

    text: str = ""
    more: bool = False
    over: bool = False


def stream_responses(example: str) -> dict[int | str, dict[str, Any]]:
    """How a route that also streams describes its answers."""
    content = {EVENT_STREAM: {"schema": {"type": "string"}, "example": example}}
    return {
        200: {"content": content},
        204: {"description": "An event stream that was read to its end before."},
    }


def read_to_its_end() -> Response:
    """The answer for a client that comes back with the id `END`: tells an EventSource to stop."""
    return Response(status_code=204)


def event_stream(
    services: Services, run_id: UUID, look: Callable[[], News], *channels: str, user: str
) -> BoundedStream:
    """The answer that goes on until `look` finds that all is over.

    Args:
        services: tells of changes of the run.
        run_id: the run.
        look: what is new since it was last called; called in a thread.
        channels: what counts as a change of the run, besides its state.
        user: who reads; each may read so many at once.
    """
    return BoundedStream(
        _follow(services, run_id, look, channels),
        places=services.places,
        user=user,
        at_most=services.settings.max_streams_per_user,
        media_type=EVENT_STREAM,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def event(name: str, data: object, *, event_id: str | None = None) -> str:
    """One event, as it goes over the wire."""
    position = "" if event_id is None else f"id: {event_id}\n"
    return f"{position}event: {name}\ndata: {json.dumps(data)}\n\n"


def the_end() -> str:
    """The last event of a stream."""
    return event("end", {}, event_id=END)


async def _follow(
    services: Services, run_id: UUID, look: Callable[[], News], channels: Sequence[str]
) -> AsyncIterator[str]:
    until = time.monotonic() + STREAM_S
    quiet_since = time.monotonic()
    yield "retry: 1000\n\n"
    async with services.changes.of(str(run_id), RUN, *channels) as changed:
        while time.monotonic() < until and not server_stops():
            news = await run_in_threadpool(_tried, look)
            if news.text:
                yield news.text
                quiet_since = time.monotonic()
            if news.over:
                return
            if not news.more:
                await wait_for(changed, timeout_s=LOOK_AGAIN_S)
            if time.monotonic() - quiet_since > HEARTBEAT_S:
                yield ": still here\n\n"
                quiet_since = time.monotonic()


def _tried(look: Callable[[], News]) -> News:
    """No news while the database is away: the stream outlives its restart. A run may be gone."""
    try:
        return look()
    except RunNotFound:  # forgotten since: Airflow refused it. Who comes again gets 404
        return News(over=True)
    except (Unavailable, psycopg.OperationalError) as error:
        log.warning("An event stream waits for the database: %s", error)
        return News()
