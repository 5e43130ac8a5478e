"""Keep runs and attempts in PostgreSQL.

Every change goes through `states.check_transition`; the database itself writes
the event, counts the version, wakes listeners and holds terminal states final
(`db/migrations/sql/0001_tables.sql`). What drivers report does not pass here:
they call the functions of schema `driver`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection, errors, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from dataharbour.errors import Conflict, IdempotencyConflict, RunNotFound
from dataharbour.jobs import logs, waiting
from dataharbour.jobs.model import (
    AttemptGrant,
    AttemptState,
    Desired,
    Detail,
    Event,
    Failure,
    LogPage,
    Page,
    Run,
    RunRequest,
    State,
)
from dataharbour.jobs.rows import (
    ATTEMPT_COLUMNS,
    RUN_COLUMNS,
    attempt_of,
    columns_of,
    event_of,
    run_of,
)
from dataharbour.jobs.states import check_transition, details_of, terminal

AnyConnection = Connection[Any]
ConnectRuns = Callable[[], AbstractContextManager[AnyConnection]]
Events = list[Event]

_BEFORE_DRIVER = (Detail.ACCEPTED, Detail.QUEUED, Detail.RETRY_WAIT)
_LOCK_SPACE = 7_171  # advisory locks of runs: (space, hash of the run)


class RunStore:
    """Runs, attempts, events and logs.

    Args:
        connect: opens a connection to the database `dataharbour`, for use in
            `with` (which commits and closes or returns it): `db.engine.connector`
            or the method `connection` of a pool.
        actor: who changes things, as the events shall name it (``api``, ``operator``).
    """

    def __init__(self, connect: ConnectRuns, *, actor: str = "harbour") -> None:
        self._open = connect
        self._actor = actor

    # --- a run comes to be ---------------------------------------------------------------

    def accept(
        self,
        request: RunRequest,
        *,
        application_sha256: str,
        principal: str,
        dag_id: str,
        dag_run_id: str,
        task_id: str,
        idempotency_key: str | None,
        fingerprint: str,
        now: datetime,
    ) -> tuple[Run, bool]:
        """Write a run before Airflow is asked to start it.

        Args:
            request: what shall be run, already checked.
            application_sha256: hash of the application file at this moment.
            principal: who asks; keys of different principals never meet.
            dag_id: `spark_job` or `job__<name>`.
            dag_run_id: derived from principal, job and key, so that a repeated
                call names the same DAG run.
            task_id: the task that will run it.
            idempotency_key: as the caller sent it, or None.
            fingerprint: hash of the request's body.
            now: aware UTC.

        Returns:
            The run, and whether it was there already (replayed).

        Raises:
            IdempotencyConflict: that key came with another fingerprint before.
        """
        values = columns_of(request) | {
            "application_sha256": application_sha256,
            "principal": principal,
            "dag_id": dag_id,
            "dag_run_id": dag_run_id,
            "task_id": task_id,
            "idempotency_key": idempotency_key,
            "fingerprint": fingerprint,
        }
        with self._connect() as connection:
            created = _insert_run(connection, values, detail=Detail.ACCEPTED, now=now)
            if created is not None:
                return created, False
            return _replayed(connection, values), True

    def queued(self, run_id: UUID, *, now: datetime) -> Run:
        """Airflow has taken the run; one that is further already stays as it is."""
        with self._connect() as connection:
            run = _locked(connection, run_id)
            if run.detail is not Detail.ACCEPTED:
                return run
            return _move(connection, run, Detail.QUEUED, now=now)

    def discard(self, run_id: UUID) -> None:
        """Forget a run that Airflow refused: it was never acknowledged.

        Raises:
            Conflict: it is past ACCEPTED, so somebody knows of it.
        """
        with self._connect() as connection:
            run = _locked(connection, run_id)
            if run.detail is not Detail.ACCEPTED:
                raise Conflict(
                    f"The run {run_id} is {run.detail}; only an ACCEPTED one can be discarded.",
                    "Cancel it instead.",
                )
            connection.execute("delete from public.run where id = %s", [run_id])

    def open_run(
        self,
        request: RunRequest,
        *,
        application_sha256: str,
        dag_id: str,
        dag_run_id: str,
        task_id: str,
        map_index: int = -1,
        principal: str,
        now: datetime,
    ) -> Run:
        """The run of a task instance: the one that is there, else a new one.

        A run that has ended is returned once if its task has not seen the end
        (it was cancelled while it waited): the operator must look at `detail`.
        After that, a task that comes again was cleared by somebody, and gets a
        new run whose `retry_of` names the old one.
        """
        values = columns_of(request) | {
            "application_sha256": application_sha256,
            "principal": principal,
            "dag_id": dag_id,
            "dag_run_id": dag_run_id,
            "task_id": task_id,
            "map_index": map_index,
        }
        with self._connect() as connection:
            created = _insert_run(connection, values, detail=Detail.QUEUED, now=now)
            return created or _opened(connection, values, now=now)

    # --- attempts -------------------------------------------------------------------------

    def start_attempt(self, run_id: UUID, *, backend: str, now: datetime) -> AttemptGrant:
        """Open the next attempt and fence all earlier ones.

        Waits while the run is being published.

        Raises:
            Conflict: the run has ended or shall be cancelled, or an earlier
                driver still holds its lease.
        """
        token = secrets.token_urlsafe(32)
        with self._connect() as connection:
            connection.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", _lock(run_id))
            run = _locked(connection, run_id)
            if run.desired is Desired.CANCELLED:
                raise Conflict(f"The run {run_id} shall be cancelled.", "Start a new run.")
            _refuse_live_driver(connection, run)
            connection.execute(
                "update public.attempt set state = 'LOST', ended_at = %s, lease_until = null "
                "where run_id = %s and state in ('SUBMITTING', 'SUBMITTED', 'RUNNING')",
                [now, run_id],
            )
            _move(connection, run, Detail.SUBMITTING, now=now, attempt=run.attempt + 1)
            row = _one(
                connection,
                """
                with fenced as (
                    update public.run set fence = fence + 1, progress = null where id = %s
                    returning id, attempt, fence
                )
                insert into public.attempt
                    (run_id, number, fence, token_sha256, backend, state, created_at)
                select id, attempt, fence, %s, %s, 'SUBMITTING', %s from fenced
                returning id, number, fence
                """,
                [run_id, hashlib.sha256(token.encode()).digest(), backend, now],
            )
            assert row is not None, "the run is locked, so it is there"
        return AttemptGrant(
            attempt_id=row["id"],
            run_id=run_id,
            number=row["number"],
            fence=row["fence"],
            token=token,
        )

    def submitted(self, attempt_id: UUID, *, external_id: str, now: datetime) -> None:
        """The backend has taken the attempt; the driver may have claimed it meanwhile."""
        with self._connect() as connection:
            row = _one(connection, "select run_id from public.attempt where id = %s", [attempt_id])
            if row is None:
                raise RunNotFound(f"There is no attempt {attempt_id}.", "List the runs.")
            run = _locked(connection, row["run_id"])
            connection.execute(
                "update public.attempt set external_id = %s, submitted_at = %s, "
                "state = case when state = 'SUBMITTING' then 'SUBMITTED' else state end "
                "where id = %s",
                [external_id, now, attempt_id],
            )
            if run.detail is Detail.SUBMITTING:
                _move(connection, run, Detail.SUBMITTED, now=now)

    def attempt_state(self, attempt_id: UUID) -> AttemptState:
        """What is known of one attempt."""
        with self._connect() as connection:
            row = _one(
                connection,
                f"select {ATTEMPT_COLUMNS} from public.attempt a "
                "join public.run r on r.id = a.run_id where a.id = %s",
                [attempt_id],
            )
        if row is None:
            raise RunNotFound(f"There is no attempt {attempt_id}.", "List the runs.")
        return attempt_of(row)

    def wait(self, run_id: UUID, *, timeout_s: float) -> AttemptState:
        """Wait until the newest attempt has ended, its lease has lapsed, or the time is over.

        Sleeps on a notification; the returned state tells which of the three it was
        (`ended`, `lapsed`, or neither).

        Raises:
            RunNotFound: no such run, or it has no attempt yet.
        """
        with self._connect() as connection:
            return waiting.wait_for_end(connection, run_id, timeout_s=timeout_s)

    # --- how a run ends -------------------------------------------------------------------

    def finalizing(self, run_id: UUID, now: datetime) -> Run:
        """The driver is done; the outputs are being checked and published."""
        with self._connect() as connection:
            run = _locked(connection, run_id)
            if run.detail is Detail.FINALIZING:  # the operator came back after a crash
                return run
            return _move(connection, run, Detail.FINALIZING, now=now)

    def lost(self, run_id: UUID, *, now: datetime) -> Run:
        """The driver's lease is over; a sign of life brings the run back to RUNNING."""
        with self._connect() as connection:
            run = _locked(connection, run_id)
            return (
                run if run.detail is Detail.LOST else _move(connection, run, Detail.LOST, now=now)
            )

    def finish(
        self,
        run_id: UUID,
        *,
        detail: Detail,
        failure: Failure | None = None,
        result: Mapping[str, Any] | None = None,
        now: datetime,
    ) -> Run:
        """End a run (a terminal `detail`), or end this try of it (`RETRY_WAIT`).

        To finish it again with the same `detail` changes nothing.

        Raises:
            Conflict: the run ended otherwise before.
        """
        if not terminal(detail) and detail is not Detail.RETRY_WAIT:
            raise ValueError(f"a run does not finish as {detail}")
        with self._connect() as connection:
            run = _locked(connection, run_id)
            if run.detail is detail:
                return run
            return _move(
                connection,
                run,
                detail,
                now=now,
                failure_class=failure and failure.failure_class,
                failure_message=failure and failure.message,
                result=None if result is None else Jsonb(dict(result)),
                ended_at=now if terminal(detail) else None,
                end_seen=terminal(detail),
            )

    def cancel(self, run_id: UUID, *, now: datetime) -> Run:
        """Ask for the end of a run; one that has no driver yet ends at once.

        A run that has ended is returned as it is.
        """
        with self._connect() as connection:
            run = _locked(connection, run_id)
            if terminal(run.detail) or run.detail is Detail.CANCELLING:
                return run
            if run.detail in _BEFORE_DRIVER:
                return _move(
                    connection,
                    run,
                    Detail.CANCELLED,
                    now=now,
                    desired=Desired.CANCELLED,
                    ended_at=now,
                    failure_class="CANCELLED",
                    failure_message="Cancelled before it started.",
                )
            return _move(connection, run, Detail.CANCELLING, now=now, desired=Desired.CANCELLED)

    @contextmanager
    def publishing(self, attempt_id: UUID) -> Iterator[Callable[[], None]]:
        """Hold the right to publish the outputs of an attempt.

        While it is held no newer attempt of the run can start. Yields a function
        that raises when the right was lost (the connection broke): call it
        before each irreversible step.

        Raises:
            Conflict: a newer attempt exists, or the run has ended.
        """
        with self._connect() as connection:
            row = _one(connection, "select run_id from public.attempt where id = %s", [attempt_id])
            if row is None:
                raise RunNotFound(f"There is no attempt {attempt_id}.", "List the runs.")
            connection.execute(
                "select pg_advisory_xact_lock_shared(%s, hashtext(%s))", _lock(row["run_id"])
            )

            def check() -> None:
                _refuse_fenced(connection, attempt_id)

            check()
            yield check

    # --- reading --------------------------------------------------------------------------

    def get(self, run_id: UUID) -> Run:
        """One run.

        Raises:
            RunNotFound: there is none with that id.
        """
        with self._connect() as connection:
            return _get(connection, run_id)

    def find(
        self, *, dag_id: str, dag_run_id: str, task_id: str | None = None, map_index: int = -1
    ) -> Run | None:
        """The newest run of a task instance; without `task_id`, of the DAG run."""
        with self._connect() as connection:
            row = _one(
                connection,
                f"select {RUN_COLUMNS} from public.run where dag_id = %s and dag_run_id = %s "
                "and (%s::text is null or (task_id = %s and map_index = %s)) "
                "order by is_current desc, id desc limit 1",
                [dag_id, dag_run_id, task_id, task_id, map_index],
            )
        return None if row is None else run_of(row)

    def events(self, run_id: UUID) -> Events:
        """Everything that happened to a run, oldest first.

        Raises:
            RunNotFound: there is none with that id.
        """
        with self._connect() as connection:
            _get(connection, run_id)
            rows = connection.cursor(row_factory=dict_row).execute(
                "select id, at, kind, old, new, run_id, attempt_id, actor, data "
                "from public.event where run_id = %s order by id",
                [run_id],
            )
            return [event_of(row) for row in rows]

    def logs(self, run_id: UUID, *, cursor: str | None = None, limit: int = 1000) -> LogPage:
        """Log lines of all attempts, oldest first, from `cursor` on.

        Raises:
            RunNotFound: there is none with that id.
            ConfigError: the cursor is not one that an earlier page gave.
        """
        with self._connect() as connection:
            run = _get(connection, run_id)
            return logs.read_page(connection, run, cursor=cursor, limit=limit)

    def list(
        self,
        *,
        limit: int,
        cursor: str | None = None,
        state: State | None = None,
        job: str | None = None,
        dag_ids: Collection[str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Page[Run]:
        """Runs, newest first.

        Args:
            limit: most items of a page, at least 1.
            cursor: `next` of the page before.
            state: only runs in this state.
            job: only runs of this declared job.
            dag_ids: only runs of these DAGs; None for all, empty for none.
            labels: only runs that carry all of these.

        Raises:
            ConfigError: the cursor is not one that an earlier page gave.
        """
        conditions = {
            "id < %(cursor)s": None if cursor is None else logs.uuid_cursor(cursor),
            "detail = any(%(details)s)": state and [str(d) for d in details_of(state)],
            "job = %(job)s": job,
            "dag_id = any(%(dag_ids)s)": None if dag_ids is None else [*dag_ids],
            "labels @> %(labels)s": Jsonb(dict(labels)) if labels else None,
        }
        wanted = {text: value for text, value in conditions.items() if value is not None}
        values = {text.split("%(")[1].split(")")[0]: value for text, value in wanted.items()}
        query = sql.SQL("select {} from public.run where {} order by id desc limit %(limit)s")
        with self._connect() as connection:
            rows = connection.cursor(row_factory=dict_row).execute(
                query.format(sql.SQL(RUN_COLUMNS), sql.SQL(" and ".join(["true", *wanted]))),
                values | {"limit": limit + 1},
            )
            runs = [run_of(row) for row in rows]
        more = len(runs) > limit
        return Page(items=runs[:limit], next=str(runs[limit - 1].id) if more else None)

    @contextmanager
    def _connect(self) -> Iterator[AnyConnection]:
        """A connection whose changes carry the actor's name."""
        with self._open() as connection:
            connection.execute("select set_config('dataharbour.actor', %s, true)", [self._actor])
            yield connection


def _one(connection: AnyConnection, query: str, values: Any) -> dict[str, Any] | None:
    return connection.cursor(row_factory=dict_row).execute(query, values).fetchone()


def _get(connection: AnyConnection, run_id: UUID, suffix: str = "") -> Run:
    row = _one(connection, f"select {RUN_COLUMNS} from public.run where id = %s {suffix}", [run_id])
    if row is None:
        raise RunNotFound(f"There is no run {run_id}.", "List the runs: harbour job list.")
    return run_of(row)


def _locked(connection: AnyConnection, run_id: UUID) -> Run:
    return _get(connection, run_id, "for update")


def _lock(run_id: UUID) -> tuple[int, str]:
    return _LOCK_SPACE, str(run_id)


def _insert_run(
    connection: AnyConnection, values: Mapping[str, Any], *, detail: Detail, now: datetime
) -> Run | None:
    """A new row, or None where one of its keys is taken."""
    row = {**values, "detail": detail, "created_at": now, "changed_at": now}
    query = sql.SQL(
        "insert into public.run ({}) values ({}) on conflict do nothing returning {}"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
        sql.SQL(RUN_COLUMNS),
    )
    created = connection.cursor(row_factory=dict_row).execute(query, row).fetchone()
    return None if created is None else run_of(created)


def _opened(connection: AnyConnection, values: Mapping[str, Any], *, now: datetime) -> Run:
    """The run that a task instance already has, or the next one if that has ended and was seen."""
    row = _one(
        connection,
        "select id, detail, end_seen from public.run where is_current and dag_id = %(dag_id)s "
        "and dag_run_id = %(dag_run_id)s and task_id = %(task_id)s "
        "and map_index = %(map_index)s for update",
        values,
    )
    if row is None:  # discarded between the two statements
        raise Conflict(
            f"The run of {values['dag_id']} {values['dag_run_id']} was discarded just now.",
            "Try again.",
        )
    if not terminal(Detail(row["detail"])):
        return _get(connection, row["id"])
    if not row["end_seen"]:
        connection.execute("update public.run set end_seen = true where id = %s", [row["id"]])
        return _get(connection, row["id"])
    connection.execute("update public.run set is_current = false where id = %s", [row["id"]])
    again = _insert_run(
        connection, {**values, "retry_of": row["id"]}, detail=Detail.QUEUED, now=now
    )
    assert again is not None, "the key was freed under the row's lock"
    return again


def _replayed(connection: AnyConnection, values: Mapping[str, Any]) -> Run:
    """The run that an idempotency key (or the DAG run derived from it) already has."""
    row = _one(
        connection,
        "select id, fingerprint from public.run where is_current and ("
        "(principal = %(principal)s and dag_id = %(dag_id)s "
        "and idempotency_key = %(idempotency_key)s) or (dag_id = %(dag_id)s "
        "and dag_run_id = %(dag_run_id)s and task_id = %(task_id)s and map_index = -1)) "
        "order by idempotency_key is null limit 1 for update",
        values,
    )
    if row is None:  # discarded between the two statements
        raise Conflict("The first request with this key was just refused.", "Send it again.")
    if row["fingerprint"] is None:  # the operator was first: our row had been discarded
        connection.execute(
            "update public.run set idempotency_key = %(idempotency_key)s, "
            "fingerprint = %(fingerprint)s where id = %(id)s",
            {**values, "id": row["id"]},
        )
    elif row["fingerprint"] != values["fingerprint"]:
        raise IdempotencyConflict(
            f"The Idempotency-Key {values['idempotency_key']!r} was used for another request "
            f"(run {row['id']}).",
            "Send a new key, or the first request unchanged.",
        )
    return _get(connection, row["id"])


def _move(
    connection: AnyConnection, run: Run, detail: Detail, *, now: datetime, **columns: Any
) -> Run:
    """Change the state of a locked run, compare-and-set on its version."""
    check_transition(run.detail, detail)
    changes = {
        "detail": detail,
        "changed_at": now,
        **{name: value for name, value in columns.items() if value is not None},
    }
    query = sql.SQL(
        "update public.run set {} where id = %(id)s and version = %(version)s returning {}"
    ).format(
        sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name))
            for name in changes
        ),
        sql.SQL(RUN_COLUMNS),
    )
    values = {**changes, "id": run.id, "version": run.version}
    row = connection.cursor(row_factory=dict_row).execute(query, values).fetchone()
    if row is None:
        raise Conflict(f"The run {run.id} changed meanwhile.", "Read it again and repeat.")
    return run_of(row)


def _refuse_live_driver(connection: AnyConnection, run: Run) -> None:
    row = _one(
        connection,
        "select number, holder, lease_until from public.attempt "
        "where run_id = %s and state = 'RUNNING' and lease_until > clock_timestamp()",
        [run.id],
    )
    if row is not None:
        raise Conflict(
            f"Attempt {row['number']} of run {run.id} is alive ({row['holder']}, "
            f"lease until {row['lease_until']:%H:%M:%S} UTC).",
            "Wait for its end, or cancel the run.",
        )


def _refuse_fenced(connection: AnyConnection, attempt_id: UUID) -> None:
    try:
        row = _one(
            connection,
            "select r.id, a.fence = r.fence as newest, r.detail from public.attempt a "
            "join public.run r on r.id = a.run_id where a.id = %s",
            [attempt_id],
        )
    except errors.OperationalError as error:
        raise Conflict(
            f"The right to publish attempt {attempt_id} was lost with the database connection.",
            "Let the task run again; publishing goes on where it stopped.",
        ) from error
    if row is None or not row["newest"] or terminal(Detail(row["detail"])):
        raise Conflict(
            f"Attempt {attempt_id} may not publish: "
            + ("a newer attempt exists." if row and not row["newest"] else "its run has ended."),
            "The outputs belong to the newest attempt of a run that is being finished.",
        )
