"""Read what happened to a run: its events page by page, and its attempts.

The cursor of a page of events is the id of its last event. Events of one run
get their ids under the lock of its row, so a later one never has a smaller id.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from dataharbour.jobs.cursors import event_cursor
from dataharbour.jobs.model import Attempt, Event, Page, Run
from dataharbour.jobs.rows import event_of, told_attempt_of
from dataharbour.jobs.statements import AnyConnection, fetch_all, statement
from dataharbour.jobs.states import terminal


def events(
    connection: AnyConnection, run: Run, *, cursor: str | None, limit: int | None
) -> Page[Event]:
    """See `RunStore.event_page`."""
    after = 0 if cursor is None else event_cursor(cursor)
    values = {"run_id": run.id, "after": after, "limit": limit}
    found = [event_of(row) for row in fetch_all(connection, statement("events_of_run"), values)]
    over = terminal(run.detail) and (limit is None or len(found) < limit)
    position = found[-1].id if found else after
    return Page(items=found, next=None if over else str(position))


def attempts(connection: AnyConnection, run: Run) -> list[Attempt]:
    """See `RunStore.attempts`."""
    rows = fetch_all(connection, statement("attempts_of_run"), {"run_id": run.id})
    return [told_attempt_of(row) for row in rows]


def staged_in_vain(
    connection: AnyConnection, attempt_ids: Collection[UUID], *, before: datetime
) -> list[UUID]:
    """See `RunStore.staged_in_vain`."""
    values = {"attempt_ids": list(attempt_ids), "before": before}
    rows = fetch_all(connection, statement("staged_in_vain"), values)
    return [row["attempt_id"] for row in rows]


def long_over(
    connection: AnyConnection, attempt_ids: Collection[UUID], *, before: datetime
) -> dict[UUID, str | None]:
    """See `RunStore.long_over`."""
    values = {"attempt_ids": list(attempt_ids), "before": before}
    rows = fetch_all(connection, statement("attempts_long_over"), values)
    return {row["attempt_id"]: row["external_id"] for row in rows}
