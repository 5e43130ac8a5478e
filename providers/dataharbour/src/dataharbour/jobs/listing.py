"""List runs, newest first, page by page."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from psycopg import sql
from psycopg.types.json import Jsonb

from dataharbour.jobs.cursors import run_cursor
from dataharbour.jobs.model import Page, Run, State
from dataharbour.jobs.rows import run_of
from dataharbour.jobs.statements import AnyConnection, fetch_all
from dataharbour.jobs.states import details_of


def list_runs(
    connection: AnyConnection,
    *,
    limit: int,
    cursor: str | None,
    state: State | None,
    job: str | None,
    dag_ids: Collection[str] | None,
    labels: Mapping[str, str] | None,
) -> Page[Run]:
    """See `RunStore.list`."""
    filters = {  # name of the value -> the condition that uses it, and the value
        "cursor": ("id < %(cursor)s", None if cursor is None else run_cursor(cursor)),
        "details": ("detail = any(%(details)s)", state and list(map(str, details_of(state)))),
        "job": ("job = %(job)s", job),
        "dag_ids": ("dag_id = any(%(dag_ids)s)", None if dag_ids is None else [*dag_ids]),
        "labels": ("labels @> %(labels)s", Jsonb(dict(labels)) if labels else None),
    }
    wanted = {name: given for name, given in filters.items() if given[1] is not None}
    query = sql.SQL("select * from public.run where {} order by id desc limit %(limit)s").format(
        sql.SQL(" and ".join(["true", *(condition for condition, _ in wanted.values())]))
    )
    values = {name: value for name, (_, value) in wanted.items()}
    rows = fetch_all(connection, query, {**values, "limit": limit + 1})
    runs = [run_of(row) for row in rows]
    more = len(runs) > limit
    return Page(items=runs[:limit], next=str(runs[limit - 1].id) if more else None)
