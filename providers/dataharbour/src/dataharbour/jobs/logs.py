"""Read the log of a run, page by page.

A cursor is ``<attempt number>.<last line read>``; it stays valid for ever.
"""

from __future__ import annotations

from datetime import UTC, datetime

from dataharbour.jobs.cursors import log_cursor
from dataharbour.jobs.model import LogLine, LogPage, Run
from dataharbour.jobs.statements import AnyConnection, fetch_all, statement
from dataharbour.jobs.states import terminal


def read_page(connection: AnyConnection, run: Run, *, cursor: str | None, limit: int) -> LogPage:
    """Up to `limit` lines after `cursor`; see `RunStore.logs`."""
    number, after = (0, 0) if cursor is None else log_cursor(cursor)
    values = {"run_id": run.id, "number": number, "after": after, "limit": limit}
    items: list[LogLine] = []
    for chunk in fetch_all(connection, statement("log_chunks"), values):
        skip = max(after + 1 - chunk["first_line"], 0) if chunk["number"] == number else 0
        taken = chunk["lines"][skip : skip + limit - len(items)]
        items += [_line(*line) for line in taken]
        number, after = chunk["number"], chunk["first_line"] + skip + len(taken) - 1
    complete = terminal(run.detail) and len(items) < limit
    return LogPage(items=items, next=None if complete else f"{number}.{after}", complete=complete)


def _line(at: float, stream: str, line: str) -> LogLine:
    return LogLine(at=datetime.fromtimestamp(at, UTC), stream=stream, line=line)
