"""How a run comes to be: accepted by the API, or opened by its task.

Each function is part of the caller's transaction; `RunStore` says what it promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from dataharbour.errors import Conflict, IdempotencyConflict, LimitReached
from dataharbour.jobs.model import Detail, Run
from dataharbour.jobs.rows import run_of
from dataharbour.jobs.statements import AnyConnection, fetch_one, statement
from dataharbour.jobs.states import terminal
from dataharbour.jobs.transitions import lock_run, move_run, set_columns

Columns = Mapping[str, Any]

_OPEN_RUNS = 0x72_75_6E  # "run": the space of the locks of users

# What a run keeps though its task says what it runs only when it comes.
_KEPT = frozenset({"labels", "principal", "dag_id", "dag_run_id", "task_id", "map_index"})


def accept(
    connection: AnyConnection, columns: Columns, *, max_open: int | None, now: datetime
) -> tuple[Run, bool]:
    """See `RunStore.accept`."""
    created = insert_run(connection, columns, detail=Detail.ACCEPTED, now=now)
    if created is None:
        return _replayed(connection, columns), True
    if max_open:
        check_open(connection, created.principal, max_open)
    return created, False


def accepted_by_key(
    connection: AnyConnection,
    *,
    principal: str,
    dag_id: str,
    idempotency_key: str,
    fingerprint: str,
) -> Run | None:
    """See `RunStore.accepted_by_key`."""
    key = {"principal": principal, "dag_id": dag_id, "idempotency_key": idempotency_key}
    row = fetch_one(connection, statement("run_of_key"), key)
    if row is None:
        return None
    run = run_of(row)
    if row["fingerprint"] != fingerprint:
        raise _key_of_another(idempotency_key, run)
    return None if run.detail is Detail.ACCEPTED else run


def queued(connection: AnyConnection, run_id: UUID, *, now: datetime) -> Run:
    """See `RunStore.queued`."""
    run = lock_run(connection, run_id)
    if run.detail is not Detail.ACCEPTED:
        return run
    return move_run(connection, run, Detail.QUEUED, now=now)


def discard(connection: AnyConnection, run_id: UUID) -> None:
    """See `RunStore.discard`."""
    run = lock_run(connection, run_id)
    if run.detail is not Detail.ACCEPTED:
        raise Conflict(
            f"The run {run_id} is {run.detail}; only an ACCEPTED one can be discarded.",
            "Cancel it instead.",
        )
    connection.execute("delete from public.run where id = %s", [run_id])


def take_up(
    connection: AnyConnection,
    task: Columns,
    *,
    clears: int,
    instead_of: UUID | None,
    task_try: int | None,
    task_max_tries: int | None,
) -> Run | None:
    """See `RunStore.take_up`."""
    row = fetch_one(connection, statement("run_of_task"), task)
    if row is None or _lacks_request(row):
        return None
    run = run_of(row)
    if not terminal(run.detail):
        return _taken_up(connection, run, task_try, task_max_tries)
    return _told(connection, run, clears=clears, instead_of=instead_of)


def open_run(
    connection: AnyConnection,
    columns: Columns,
    *,
    clears: int,
    instead_of: UUID | None,
    now: datetime,
) -> Run:
    """See `RunStore.open_run`."""
    created = insert_run(connection, columns, detail=Detail.QUEUED, now=now)
    if created:
        return created
    row = fetch_one(connection, statement("run_of_task"), columns)
    if row is None:  # discarded between the two statements
        raise Conflict(
            f"The run of {columns['dag_id']} {columns['dag_run_id']} was discarded just now.",
            "Try again.",
        )
    run = run_of(row)
    if not terminal(run.detail):
        if _lacks_request(row):
            return set_columns(connection, run, **_as_the_task_says(columns))
        return _taken_up(connection, run, columns["task_try"], columns["task_max_tries"])
    told = _told(connection, run, clears=clears, instead_of=instead_of)
    if told is not None:
        return told
    set_columns(connection, run, is_current=False)
    # The key goes on to the run that takes the place: whoever repeats the request is told of it.
    key = {name: row[name] for name in ("principal", "idempotency_key", "fingerprint")}
    # So does the date that it was for: a run that the API repeats has it from the row alone.
    occasion = columns["occasion"] or _json(row["occasion"])
    successor = {**columns, **key, "occasion": occasion, "retry_of": run.id}
    again = insert_run(connection, successor, detail=Detail.QUEUED, now=now)
    assert again is not None, "the key was freed under the row's lock"
    return again


def _taken_up(
    connection: AnyConnection, run: Run, task_try: int | None, task_max_tries: int | None
) -> Run:
    first = task_max_tries if run.task_max_tries is None else run.task_max_tries
    return set_columns(connection, run, task_try=task_try, task_max_tries=first)


def _lacks_request(row: Columns) -> bool:
    """Whether it is only known when the task comes: of a repair, or with no application yet."""
    is_open = not terminal(Detail(row["detail"]))
    return is_open and not row["application_sha256"] and not row["attempt"]


def _told(
    connection: AnyConnection, run: Run, *, clears: int, instead_of: UUID | None
) -> Run | None:
    """A run that has ended, as its task is told; None where a new run shall follow it."""
    if run.id != instead_of and run.clears in (None, clears):
        return set_columns(connection, run, clears=clears)
    return None


def _as_the_task_says(columns: Columns) -> dict[str, Any]:
    return {name: value for name, value in columns.items() if name not in _KEPT}


def insert_run(
    connection: AnyConnection, columns: Columns, *, detail: Detail, now: datetime
) -> Run | None:
    """A new row, or None where one of its keys is taken."""
    row = {**columns, "detail": detail, "created_at": now, "changed_at": now}
    query = sql.SQL(
        "insert into public.run ({}) values ({}) on conflict do nothing returning *"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )
    created = fetch_one(connection, query, row)
    return None if created is None else run_of(created)


def check_open(connection: AnyConnection, principal: str, max_open: int) -> None:
    """Refuse the run that was just written when its user has too many.

    Those of one user are counted one after another: what another request has
    written is seen here once its transaction, which holds the lock, is over. A
    transaction locks nothing after that.

    Raises:
        LimitReached: they have more than `max_open`.
    """
    connection.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", [_OPEN_RUNS, principal])
    row = fetch_one(connection, statement("active_runs_of_user"), {"principal": principal})
    if row and row["runs"] > max_open:
        raise LimitReached(
            f"{principal!r} has {max_open} runs that have not ended; more are not taken.",
            "Wait for one to end, or cancel one (harbour job cancel ID). The limit is the setting "
            "[dataharbour] max_active_runs_per_user.",
        )


def _json(value: Any) -> Jsonb | None:
    return None if value is None else Jsonb(value)


def _replayed(connection: AnyConnection, columns: Columns) -> Run:
    """The run that an idempotency key (or the DAG run derived from it) already has."""
    row = fetch_one(connection, statement("run_of_request"), columns)
    if row is None:  # discarded between the two statements
        raise Conflict("The first request with this key was just refused.", "Send it again.")
    run = run_of(row)
    if row["fingerprint"] is None:  # the operator was first: our row had been discarded
        key = {name: columns[name] for name in ("idempotency_key", "fingerprint")}
        return set_columns(connection, run, **key)
    if row["fingerprint"] != columns["fingerprint"]:
        raise _key_of_another(columns["idempotency_key"], run)
    return run


def _key_of_another(key: str, run: Run) -> IdempotencyConflict:
    return IdempotencyConflict(
        f"The Idempotency-Key {key!r} was used for another request (run {run.id}).",
        "Send a new key, or the first request unchanged.",
    )
