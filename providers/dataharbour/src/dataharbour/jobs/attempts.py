"""Attempts of a run: only the newest may run the user's code and publish what it wrote.

Each function is part of the caller's transaction; `RunStore` says what it promises.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import errors
from psycopg.types.json import Jsonb

from dataharbour.errors import Conflict, JobBusy, RunNotFound, Unavailable
from dataharbour.jobs.model import AttemptGrant, AttemptState, Desired, Detail, Output, Run
from dataharbour.jobs.rows import attempt_of
from dataharbour.jobs.statements import AnyConnection, Row, fetch_all, fetch_one, statement
from dataharbour.jobs.states import terminal
from dataharbour.jobs.transitions import lock_run, move_run

LOCK_TIMEOUT_S = 30  # then the task is tried again: a waiting one holds a worker's slot

_JOB_LOCK_SPACE = 7_172  # the same of jobs
_LOCK_SPACE = 7_171  # advisory locks of runs: (space, hash of the run)


@dataclass(frozen=True)
class RightToPublish:
    """The right of an attempt to publish, as long as its transaction lasts.

    Attributes:
        publication: orders the publications of a table.
        result: what `complete` was told, when the attempt has published already.
    """

    connection: AnyConnection
    attempt_id: UUID
    publication: int
    result: dict[str, Any] | None

    def __call__(self) -> None:
        """Raise when the right was lost; ask before each irreversible step.

        Raises:
            Conflict: a newer attempt exists, the run has ended, or the connection
                and with it the right was lost.
        """
        _refuse_without_right(self.connection, self.attempt_id)

    def take_tables(self, outputs: Iterable[Output]) -> None:
        """Nobody else publishes these tables, or one inside or around them, meanwhile.

        Raises:
            Unavailable: somebody does, for longer than `LOCK_TIMEOUT_S`.
        """
        outputs = list(outputs)
        tables = {output.table for output in outputs}
        # Each in the same order, so that two runs never wait for each other.
        for folder in sorted(tables.union(*(output.folders_above for output in outputs))):
            lock = f"pg_advisory_xact_lock{'' if folder in tables else '_shared'}"
            self._wait_for(f"select {lock}(hashtextextended(%s, {_LOCK_SPACE}))", folder)

    def complete(self, result: Mapping[str, Any]) -> None:
        """All tables are published; durable when the right is given back."""
        self.connection.execute(
            "update public.attempt set published = %s where id = %s",
            [Jsonb(dict(result)), self.attempt_id],
        )

    def _wait_for(self, lock: str, folder: str) -> None:
        try:
            self.connection.execute(lock, [folder])
        except errors.LockNotAvailable as error:
            raise Unavailable(
                f"Another run has been publishing {folder} for {LOCK_TIMEOUT_S} seconds.",
                "Let the task run again. If no run should be publishing it, look for the session "
                "in pg_stat_activity.",
            ) from error


def start(
    connection: AnyConnection, run_id: UUID, *, backend: str, at_most: int | None, now: datetime
) -> AttemptGrant:
    """See `RunStore.start_attempt`."""
    _lock(connection, run_id)
    run = lock_run(connection, run_id)
    if run.desired is Desired.CANCELLED:
        raise Conflict(f"The run {run_id} shall be cancelled.", "Start a new run.")
    if at_most is not None and not run.attempt:
        _refuse_when_busy(connection, run, at_most)
    _refuse_live_driver(connection, run)
    connection.execute(statement("attempts_given_up"), {"run_id": run_id, "now": now})
    move_run(connection, run, Detail.SUBMITTING, now=now, attempt=run.attempt + 1)
    token = secrets.token_urlsafe(32)
    row = fetch_one(
        connection,
        statement("new_attempt"),
        {
            "run_id": run_id,
            "token_sha256": hashlib.sha256(token.encode()).digest(),
            "backend": backend,
            "now": now,
        },
    )
    assert row is not None, "the run is locked, so it is there"
    return AttemptGrant(
        attempt_id=row["id"],
        run_id=run_id,
        number=row["number"],
        fence=row["fence"],
        token=token,
    )


def give_up(
    connection: AnyConnection,
    run_id: UUID,
    *,
    attempt: int | None,
    only_if: Collection[Detail],
    now: datetime,
) -> bool:
    """See `RunStore.give_up`."""
    run = lock_run(connection, run_id, attempt=attempt)  # drivers lock it, too
    if only_if and (observed(connection, run) not in only_if or _holds_lease(connection, run)):
        return False
    values = {"run_id": run_id, "now": now}
    connection.execute(statement("run_fenced"), values)
    connection.execute(statement("attempts_given_up"), values)
    return True


def submitted(
    connection: AnyConnection,
    attempt_id: UUID,
    *,
    external_id: str,
    ui_url: str | None,
    now: datetime,
) -> None:
    """See `RunStore.submitted`."""
    run = lock_run(connection, _run_of(connection, attempt_id))
    connection.execute(
        statement("attempt_submitted"),
        {"attempt_id": attempt_id, "external_id": external_id, "ui_url": ui_url, "now": now},
    )
    if run.detail is Detail.SUBMITTING:
        move_run(connection, run, Detail.SUBMITTED, now=now)


def state(connection: AnyConnection, attempt_id: UUID) -> AttemptState:
    """See `RunStore.attempt_state`."""
    values = {"attempt_ids": [attempt_id], "run_id": None}
    row = fetch_one(connection, statement("attempt_state"), values)
    if row is None:
        raise _unknown(attempt_id)
    return attempt_of(row)


def right_to_publish(connection: AnyConnection, attempt_id: UUID) -> RightToPublish:
    """See `RunStore.publishing`."""
    _lock(connection, _run_of(connection, attempt_id))
    row = _refuse_without_right(connection, attempt_id)
    return RightToPublish(connection, attempt_id, row["publication"], row["published"])


def _refuse_without_right(connection: AnyConnection, attempt_id: UUID) -> Row:
    try:
        row = fetch_one(connection, statement("right_to_publish"), {"attempt_id": attempt_id})
    except errors.OperationalError as error:
        raise Conflict(
            f"The right to publish attempt {attempt_id} was lost with the database connection.",
            "Let the task run again; it publishes from the start.",
        ) from error
    if row is None or not row["newest"] or terminal(Detail(row["detail"])):
        raise Conflict(
            f"Attempt {attempt_id} may not publish: "
            + ("a newer attempt exists." if row and not row["newest"] else "its run has ended."),
            "The outputs belong to the newest attempt of a run that is being finished.",
        )
    return row


def _refuse_when_busy(connection: AnyConnection, run: Run, at_most: int) -> None:
    """Of several that begin at once, the lock lets one after the other look."""
    subject = run.job or f"{run.dag_id}.{run.task_id}"
    connection.execute(f"select pg_advisory_xact_lock({_JOB_LOCK_SPACE}, hashtext(%s))", [subject])
    values = {"run_id": run.id, "subject": subject}
    active = [row["id"] for row in fetch_all(connection, statement("busy_with"), values)]
    if len(active) >= at_most:
        raise JobBusy(
            f"Skipped: {len(active)} of at most {at_most} runs of {subject} are active "
            f"({', '.join(map(str, active[:3]))}).",
            "Start it again when they have ended; `on_busy: queue` lets runs wait instead.",
        )


def _holds_lease(connection: AnyConnection, run: Run) -> bool:
    return fetch_one(connection, statement("live_driver"), {"run_id": run.id}) is not None


def _refuse_live_driver(connection: AnyConnection, run: Run) -> None:
    row = fetch_one(connection, statement("live_driver"), {"run_id": run.id})
    if row is not None:
        raise Unavailable(
            f"Attempt {row['number']} of run {run.id} is alive ({row['holder']}, "
            f"lease until {row['lease_until']:%H:%M:%S} UTC).",
            "Wait for its end, or cancel the run.",
        )


def observed(connection: AnyConnection, run: Run) -> Detail | None:
    """The state of the newest attempt of a run."""
    query = "select state from public.attempt where run_id = %s and number = %s"
    row = fetch_one(connection, query, [run.id, run.attempt])
    return None if row is None else Detail(row["state"])


def _run_of(connection: AnyConnection, attempt_id: UUID) -> UUID:
    query = "select run_id from public.attempt where id = %s"
    row = fetch_one(connection, query, [attempt_id])
    if row is None:
        raise _unknown(attempt_id)
    run_id: UUID = row["run_id"]
    return run_id


def _lock(connection: AnyConnection, run_id: UUID) -> None:
    """While the transaction lasts, nobody else starts or publishes an attempt of the run.

    Raises:
        Unavailable: somebody does, for longer than `LOCK_TIMEOUT_S`.
    """
    connection.execute("select set_config('lock_timeout', %s, true)", [f"{LOCK_TIMEOUT_S}s"])
    try:
        connection.execute(
            "select pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK_SPACE, str(run_id)]
        )
    except errors.LockNotAvailable as error:
        raise Unavailable(
            f"Another process has been publishing the run {run_id} for {LOCK_TIMEOUT_S} seconds.",
            "Let the task run again.",
        ) from error


def _unknown(attempt_id: UUID) -> RunNotFound:
    return RunNotFound(f"There is no attempt {attempt_id}.", "List the runs.")
