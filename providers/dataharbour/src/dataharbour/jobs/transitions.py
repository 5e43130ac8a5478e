"""Read the row of a run, lock it, and change its state as `states` allows."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import sql

from dataharbour.errors import Conflict, RunNotFound
from dataharbour.jobs.model import Detail, Run
from dataharbour.jobs.rows import run_of
from dataharbour.jobs.statements import AnyConnection, Row, fetch_one
from dataharbour.jobs.states import check_transition


def read_run(connection: AnyConnection, run_id: UUID) -> Run:
    """One run.

    Raises:
        RunNotFound: there is none with that id.
    """
    query = "select * from public.run where id = %s"
    return _found(fetch_one(connection, query, [run_id]), run_id)


def lock_run(connection: AnyConnection, run_id: UUID, *, attempt: int | None = None) -> Run:
    """One run, which nobody else changes before this transaction is over.

    Args:
        connection: of the transaction.
        run_id: the run.
        attempt: number of the attempt that the caller has judged; None: of none.

    Raises:
        RunNotFound: there is none with that id.
        Conflict: the run is at another attempt by now.
    """
    query = "select * from public.run where id = %s for update"
    run = _found(fetch_one(connection, query, [run_id]), run_id)
    if attempt not in (None, run.attempt):
        raise Conflict(
            f"The run {run_id} is at attempt {run.attempt}, not {attempt} any more.",
            "Leave it alone: another try of the task carries it on.",
        )
    return run


def move_run(
    connection: AnyConnection, run: Run, detail: Detail, *, now: datetime, **columns: Any
) -> Run:
    """Change the state of a locked run, and the `columns` that are not None.

    Raises:
        Conflict: the run may not go there from where it is.
    """
    check_transition(run.detail, detail)
    changed = {name: value for name, value in columns.items() if value is not None}
    return set_columns(connection, run, detail=detail, changed_at=now, **changed)


def set_columns(connection: AnyConnection, run: Run, **columns: Any) -> Run:
    """Write columns of a run, compare-and-set on its version."""
    query = sql.SQL(
        "update public.run set {} where id = %(id)s and version = %(version)s returning *"
    ).format(
        sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name))
            for name in columns
        )
    )
    row = fetch_one(connection, query, {**columns, "id": run.id, "version": run.version})
    if row is None:
        raise Conflict(f"The run {run.id} changed meanwhile.", "Read it again and repeat.")
    return run_of(row)


def _found(row: Row | None, run_id: UUID) -> Run:
    if row is None:
        raise RunNotFound(f"There is no run {run_id}.", "List the runs: harbour job list.")
    return run_of(row)
