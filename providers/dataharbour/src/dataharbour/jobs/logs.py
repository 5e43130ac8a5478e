"""Read the log of a run, page by page.

A cursor is ``<attempt number>.<last line read>``; it stays valid for ever.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import dict_row

from dataharbour.errors import ConfigError
from dataharbour.jobs.model import LogLine, LogPage, Run
from dataharbour.jobs.states import terminal

_CURSOR = re.compile(r"([0-9]{1,9})\.([0-9]{1,18})")

# Chunks from the cursor on, as many as `limit` lines need; line numbers have no gaps.
_CHUNKS = """
    select number, first_line, lines from (
        select *, sum(unread) over (order by number, first_line) - unread as before from (
            select a.number, c.first_line, c.lines,
                   case when a.number = %(number)s
                       then least(c.line_count, c.first_line + c.line_count - 1 - %(after)s)
                       else c.line_count end as unread
            from public.attempt a join public.log_chunk c on c.attempt_id = a.id
            where a.run_id = %(run_id)s and a.number >= %(number)s
        ) chunk where unread > 0
    ) wanted where before < %(limit)s order by number, first_line
"""


def read_page(connection: Connection[Any], run: Run, *, cursor: str | None, limit: int) -> LogPage:
    """Up to `limit` lines after `cursor`; see `RunStore.logs`."""
    number, after = _position(cursor)
    values = {"run_id": run.id, "number": number, "after": after, "limit": limit}
    items: list[LogLine] = []
    for chunk in connection.cursor(row_factory=dict_row).execute(_CHUNKS, values):
        skip = max(after + 1 - chunk["first_line"], 0) if chunk["number"] == number else 0
        taken = chunk["lines"][skip : skip + limit - len(items)]
        items += [_line(*line) for line in taken]
        number, after = chunk["number"], chunk["first_line"] + skip + len(taken) - 1
    complete = terminal(run.detail) and len(items) < limit
    return LogPage(items=items, next=None if complete else f"{number}.{after}", complete=complete)


def uuid_cursor(cursor: str) -> UUID:
    """The cursor of a list of runs."""
    try:
        return UUID(cursor)
    except ValueError:
        raise _bad(cursor) from None


def _position(cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return 0, 0
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise _bad(cursor)
    return int(match[1]), int(match[2])


def _bad(cursor: str) -> ConfigError:
    return ConfigError(
        f"The cursor {cursor[:60]!r} is not one that a page of this list gave.",
        "Send `next` of the page before, or no cursor for the first page.",
    )


def _line(at: float, stream: str, line: str) -> LogLine:
    return LogLine(at=datetime.fromtimestamp(at, UTC), stream=stream, line=line)
