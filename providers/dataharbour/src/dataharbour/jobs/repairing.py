"""Repair a run that has ended badly: another run in its place, in the same DAG run.

The run itself stays as it ended. Who takes its place is written before Airflow
clears the task, so that the caller knows it; the task then finds it. Each
function is part of the caller's transaction; `RunStore` says what it promises.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import errors
from psycopg.types.json import Jsonb

from dataharbour.errors import Conflict, IdempotencyConflict, Stale
from dataharbour.jobs.ending import check_version
from dataharbour.jobs.model import Detail, Run, State, request_of
from dataharbour.jobs.opening import check_open, insert_run
from dataharbour.jobs.rows import columns_of, run_of
from dataharbour.jobs.statements import AnyConnection, fetch_all, fetch_one, statement
from dataharbour.jobs.states import terminal
from dataharbour.jobs.transitions import lock_run, set_columns

Task = tuple[str, int]  # task_id, map_index

_NOTHING_MORE: Mapping[str, Any] = {}


def check_repairable(run: Run) -> None:
    """Refuse what has not failed, or has a run in its place already.

    Raises:
        Conflict: there is nothing to repair.
    """
    if not terminal(run.detail) or run.state is State.SUCCEEDED:
        raise Conflict(
            f"The run {run.id} is {run.detail}; only one that has ended badly can be repaired.",
            "Wait for its end, or repair the run of its DAG run that has failed.",
        )
    if not run.is_current:
        raise Conflict(
            f"The run {run.id} has been repaired, or its task was cleared: another run is in "
            "its place.",
            "GET runs/ID/repairs lists them, the newest first. Look at that one.",
        )


def repaired_by_key(
    connection: AnyConnection, run_id: UUID, *, principal: str, idempotency_key: str
) -> Run | None:
    """See `RunStore.repaired_by_key`."""
    values = {"principal": principal, "idempotency_key": idempotency_key}
    row = fetch_one(connection, statement("repair_of_key"), values)
    if row is None:
        return None
    if row["repairs"] != run_id:
        raise _key_of_another(idempotency_key, row["repairs"])
    return run_of(row)


def repair(
    connection: AnyConnection,
    run_id: UUID,
    *,
    principal: str,
    idempotency_key: str,
    version: int | None,
    cleared: Collection[Task],
    max_open: int | None,
    now: datetime,
) -> tuple[Run, bool]:
    """See `RunStore.repair`."""
    run = lock_run(connection, run_id)
    key = {"principal": principal, "idempotency_key": idempotency_key}
    earlier = repaired_by_key(connection, run_id, **key)
    if earlier is not None:
        return earlier, True
    check_version(run, version)
    if version is not None and not run.is_current:
        raise Stale(
            f"The run {run_id} has been repaired since you read it.",
            "Look at GET runs/ID/repairs; the newest is in its place.",
        )
    check_repairable(run)
    successor = _in_its_place(connection, run, now=now)
    try:
        connection.execute(statement("repair_made"), {**key, "run_id": successor.id})
    except errors.UniqueViolation:  # the same key, for another run, at the same moment
        raise _key_of_another(idempotency_key, None) from None
    tasks = {"tasks": [t for t, _ in cleared], "map_indexes": [i for _, i in cleared]}
    dag_run = {"dag_id": run.dag_id, "dag_run_id": run.dag_run_id}
    told = fetch_all(connection, statement("ends_told"), {**dag_run, **tasks})
    more = {"told": [str(row["id"]) for row in told]} if told else {}
    _note(connection, run, "run.repaired", by=successor.id, more=more, now=now)
    if max_open:
        check_open(connection, principal, max_open)
    return successor, False


def withdraw(connection: AnyConnection, run_id: UUID, *, now: datetime) -> None:
    """See `RunStore.withdraw_repair`."""
    successor = lock_run(connection, run_id)
    if successor.detail is not Detail.ACCEPTED or successor.retry_of is None:
        raise Conflict(f"The run {run_id} is {successor.detail}; it goes on.", "Cancel it instead.")
    connection.execute("delete from public.run where id = %s", [run_id])
    run = lock_run(connection, successor.retry_of)
    set_columns(connection, run, is_current=True)
    connection.execute(statement("ends_untold"), {"run_id": run.id, "by": str(run_id)})
    _note(connection, run, "run.repair-refused", by=run_id, now=now)


def repairs(connection: AnyConnection, run: Run) -> list[Run]:
    """See `RunStore.repairs`."""
    key = {
        "dag_id": run.dag_id,
        "dag_run_id": run.dag_run_id,
        "task_id": run.task_id,
        "map_index": run.map_index,
    }
    return [run_of(row) for row in fetch_all(connection, statement("runs_of_task"), key)]


def _in_its_place(connection: AnyConnection, run: Run, *, now: datetime) -> Run:
    """A run of the same task instance, which takes the key of the run that it follows."""
    set_columns(connection, run, is_current=False)
    inherited = fetch_one(
        connection,
        "select idempotency_key, fingerprint from public.run where id = %s",
        [run.id],
    )
    assert inherited is not None, "the run is locked, so it is there"
    columns = columns_of(request_of(run)) | {
        **inherited,
        "application_sha256": "",  # the task says what it runs when it comes
        "principal": run.principal,
        "dag_id": run.dag_id,
        "dag_run_id": run.dag_run_id,
        "task_id": run.task_id,
        "map_index": run.map_index,
        "retry_of": run.id,
    }
    successor = insert_run(connection, columns, detail=Detail.ACCEPTED, now=now)
    assert successor is not None, "the key was freed under the row's lock"
    return successor


def _note(
    connection: AnyConnection,
    run: Run,
    kind: str,
    *,
    by: UUID,
    more: Mapping[str, Any] = _NOTHING_MORE,
    now: datetime,
) -> None:
    values = {"run_id": run.id, "kind": kind, "by": str(by), "more": Jsonb(dict(more)), "now": now}
    connection.execute(statement("repair_noted"), values)


def _key_of_another(key: str, run_id: UUID | None) -> IdempotencyConflict:
    which = f" (of the run {run_id})" if run_id else ""
    return IdempotencyConflict(
        f"The Idempotency-Key {key!r} was used for another repair{which}.", "Send a new key."
    )
