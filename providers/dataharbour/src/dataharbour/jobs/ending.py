"""How a run ends: finished, cancelled, or lost.

Each function is part of the caller's transaction; `RunStore` says what it promises.
What a driver reports of its own end does not pass here (schema `driver`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from dataharbour.errors import Conflict, Stale
from dataharbour.jobs.attempts import observed
from dataharbour.jobs.model import Desired, Detail, Failure, FailureClass, Run
from dataharbour.jobs.statements import AnyConnection, fetch_one, statement
from dataharbour.jobs.states import terminal
from dataharbour.jobs.transitions import lock_run, move_run, set_columns

_BEFORE_DRIVER = (Detail.ACCEPTED, Detail.QUEUED, Detail.RETRY_WAIT)


def finalizing(
    connection: AnyConnection, run_id: UUID, *, attempt: int | None, now: datetime
) -> Run:
    """See `RunStore.finalizing`."""
    run = lock_run(connection, run_id, attempt=attempt)
    if run.detail is Detail.FINALIZING:  # the operator came back after a crash
        return run
    if run.desired is Desired.CANCELLED and not terminal(run.detail):
        return run
    return move_run(connection, run, Detail.FINALIZING, now=now)


def lost(connection: AnyConnection, run_id: UUID, *, attempt: int | None, now: datetime) -> Run:
    """See `RunStore.lost`."""
    run = lock_run(connection, run_id, attempt=attempt)
    return run if run.detail is Detail.LOST else move_run(connection, run, Detail.LOST, now=now)


def finish(
    connection: AnyConnection,
    run_id: UUID,
    *,
    detail: Detail,
    failure: Failure | None,
    result: Mapping[str, Any] | None,
    clears: int | None,
    retry_at: datetime | None,
    attempt: int | None,
    now: datetime,
) -> Run:
    """See `RunStore.finish`."""
    is_end = terminal(detail)
    if not is_end and detail is not Detail.RETRY_WAIT:
        raise ValueError(f"a run does not finish as {detail}")
    run = lock_run(connection, run_id, attempt=attempt)
    if run.detail is detail:
        told = is_end and clears is not None
        return set_columns(connection, run, clears=clears) if told else run
    return move_run(
        connection,
        run,
        detail,
        now=now,
        failure_class=failure and failure.failure_class,
        failure_message=failure and failure.message,
        result=None if result is None else Jsonb(dict(result)),
        ended_at=now if is_end else None,
        clears=clears if is_end else None,
        retry_at=retry_at,
    )


def cancel(
    connection: AnyConnection,
    run_id: UUID,
    *,
    grace_s: float | None,
    version: int | None,
    now: datetime,
) -> Run:
    """See `RunStore.cancel`."""
    run = lock_run(connection, run_id)
    check_version(run, version)
    if terminal(run.detail) or run.detail is Detail.CANCELLING:
        return run
    if run.detail is Detail.FINALIZING:
        raise Conflict(
            f"The run {run_id} is FINALIZING: its driver has ended, and its outputs are being "
            "published.",
            "It is too late to cancel it: it ends when they are, mostly within seconds.",
        )
    values = {"run_id": run_id, "now": now}
    has_driver = run.detail not in _BEFORE_DRIVER and (
        fetch_one(connection, statement("unclaimed_attempt_ended"), values) is None
    )
    if has_driver:
        return move_run(
            connection,
            run,
            Detail.CANCELLING,
            now=now,
            desired=Desired.CANCELLED,
            grace_s=grace_s,
        )
    return move_run(
        connection,
        run,
        Detail.CANCELLED,
        now=now,
        desired=Desired.CANCELLED,
        ended_at=now,
        failure_class=FailureClass.CANCELLED,
        failure_message="Cancelled before it started.",
    )


def check_version(run: Run, version: int | None) -> None:
    """Refuse a change by somebody who has read another version of the run.

    Raises:
        Stale: `version` is not that of the run.
    """
    if version not in (None, run.version):
        raise Stale(
            f"The run {run.id} is {run.detail}, version {run.version}, not {version} any more.",
            "Read it again, and send its ETag as If-Match.",
        )


def stop_driver(
    connection: AnyConnection,
    run_id: UUID,
    *,
    attempt: int | None,
    task_try: int | None,
    now: datetime,
) -> bool:
    """See `RunStore.stop_driver`."""
    run = lock_run(connection, run_id, attempt=attempt)
    if None not in (task_try, run.task_try) and task_try != run.task_try:
        raise Conflict(
            f"Try {run.task_try} of the task carries the run {run_id}, not try {task_try}.",
            "Leave it alone.",
        )
    if terminal(run.detail):
        return True
    if run.desired is not Desired.CANCELLED and observed(connection, run) is Detail.SUCCEEDED:
        return False
    set_columns(connection, run, desired=Desired.CANCELLED, changed_at=now)
    return True
