"""List runs, newest first, page by page."""

from __future__ import annotations

from psycopg import sql
from psycopg.types.json import Jsonb

from dataharbour.jobs.cursors import run_cursor
from dataharbour.jobs.model import Page, Run, RunFilter
from dataharbour.jobs.rows import run_of
from dataharbour.jobs.statements import AnyConnection, fetch_all
from dataharbour.jobs.states import details_of


def list_runs(
    connection: AnyConnection, wanted: RunFilter, *, limit: int, cursor: str | None
) -> Page[Run]:
    """See `RunStore.list`."""
    state, dag_ids, labels = wanted.state, wanted.dag_ids, wanted.labels
    filters = {  # name of the value -> the condition that uses it, and the value
        "cursor": ("id < %(cursor)s", None if cursor is None else run_cursor(cursor)),
        "details": ("detail = any(%(details)s)", state and list(map(str, details_of(state)))),
        "job": ("job = %(job)s", wanted.job),
        "dag_ids": ("dag_id = any(%(dag_ids)s)", None if dag_ids is None else [*dag_ids]),
        "labels": ("labels @> %(labels)s", Jsonb(dict(labels)) if labels else None),
        "principal": ("principal = %(principal)s", wanted.principal),
        "since": ("created_at >= %(since)s", wanted.since),
        "until": ("created_at < %(until)s", wanted.until),
    }
    used = {name: given for name, given in filters.items() if given[1] is not None}
    query = sql.SQL("select * from public.run where {} order by id desc limit %(limit)s").format(
        sql.SQL(" and ".join(["true", *(condition for condition, _ in used.values())]))
    )
    values = {name: value for name, (_, value) in used.items()}
    rows = fetch_all(connection, query, {**values, "limit": limit + 1}, plan_anew=True)
    runs = [run_of(row) for row in rows]
    more = len(runs) > limit
    return Page(items=runs[:limit], next=str(runs[limit - 1].id) if more else None)
