"""Keep runs and attempts in PostgreSQL: what changes them, each call one transaction.

Every change goes through `states.check_transition`; the database itself writes
the event, counts the version, wakes listeners and holds terminal states final
(`db/migrations/sql/0001_tables.sql`). What drivers report does not pass here:
they call the functions of schema `driver`.

The statements are in the modules by subject: `opening`, `attempts`, `ending`,
`repairing`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from dataharbour.jobs import attempts, ending, opening, repairing
from dataharbour.jobs.attempts import RightToPublish
from dataharbour.jobs.model import AttemptGrant, Detail, Failure, Run, RunRequest
from dataharbour.jobs.reading import ConnectRuns, RunReader
from dataharbour.jobs.rows import columns_of
from dataharbour.jobs.statements import AnyConnection, statement


class RunStore(RunReader):
    """Runs, attempts, events and logs, and what is done with them.

    Args:
        connect: as for `RunReader`.
        actor: who changes things, as the events shall name it (``api``, ``operator``).
    """

    def __init__(self, connect: ConnectRuns, *, actor: str = "harbour") -> None:
        super().__init__(connect)
        self._actor = actor

    def by(self, actor: str) -> RunStore:
        """The same runs; events name `actor` for what is changed through it."""
        return RunStore(self._open, actor=actor)

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
        retry_of: UUID | None = None,
        max_open: int | None = None,
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
            retry_of: the run that this one repeats.
            max_open: how many runs of `principal` may be open, this one included;
                0 or None: any number. A replayed one does not count.
            now: aware UTC.

        Returns:
            The run, and whether it was there already (replayed).

        Raises:
            IdempotencyConflict: that key came with another fingerprint before.
            LimitReached: the principal has `max_open` others.
        """
        columns = columns_of(request) | {
            "application_sha256": application_sha256,
            "principal": principal,
            "dag_id": dag_id,
            "dag_run_id": dag_run_id,
            "task_id": task_id,
            "idempotency_key": idempotency_key,
            "fingerprint": fingerprint,
            "retry_of": retry_of,
        }
        with self._connect() as connection:
            return opening.accept(connection, columns, max_open=max_open, now=now)

    def accepted_by_key(
        self, *, principal: str, dag_id: str, idempotency_key: str, fingerprint: str
    ) -> Run | None:
        """The run that an earlier request with this key has started.

        None also while Airflow may not have heard of it: that request is to be completed.

        Raises:
            IdempotencyConflict: that key came with another fingerprint before.
        """
        with self._connect() as connection:
            return opening.accepted_by_key(
                connection,
                principal=principal,
                dag_id=dag_id,
                idempotency_key=idempotency_key,
                fingerprint=fingerprint,
            )

    def queued(self, run_id: UUID, *, now: datetime) -> Run:
        """Airflow has taken the run; one that is further already stays as it is."""
        with self._connect() as connection:
            return opening.queued(connection, run_id, now=now)

    def discard(self, run_id: UUID) -> None:
        """Forget a run that Airflow refused: it was never acknowledged.

        Raises:
            Conflict: it is past ACCEPTED, so somebody knows of it.
        """
        with self._connect() as connection:
            opening.discard(connection, run_id)

    def take_up(
        self,
        *,
        dag_id: str,
        dag_run_id: str,
        task_id: str,
        map_index: int = -1,
        clears: int = 0,
        instead_of: UUID | None = None,
        task_try: int | None = None,
        task_max_tries: int | None = None,
    ) -> Run | None:
        """What `open_run` finds without being told what shall be run; None where it must be.

        That is where the task has no run yet, the run's request is not known yet (a
        repair), or a new run shall follow one that has ended.
        """
        task = {
            "dag_id": dag_id,
            "dag_run_id": dag_run_id,
            "task_id": task_id,
            "map_index": map_index,
        }
        with self._connect() as connection:
            return opening.take_up(
                connection,
                task,
                clears=clears,
                instead_of=instead_of,
                task_try=task_try,
                task_max_tries=task_max_tries,
            )

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
        clears: int = 0,
        instead_of: UUID | None = None,
        task_try: int | None = None,
        task_max_tries: int | None = None,
        now: datetime,
    ) -> Run:
        """The run of a task instance: the one that is there, else a new one.

        A run that has ended is told to its task (look at `detail`), as often as
        the task comes again. A task that was cleared by somebody after it was
        told gets a new run, whose `retry_of` names the old one.

        Args:
            request: what shall be run.
            application_sha256: hash of the application file at this moment.
            dag_id: with the next three, the task instance.
            dag_run_id: its DAG run.
            task_id: its task.
            map_index: -1 outside mapped tasks.
            principal: who wanted the run.
            clears: how often the DAG run was cleared.
            instead_of: the run that shall not be told, but be followed by a new
                one if it has ended.
            task_try: number of the try of the task, which carries the run from now on.
            task_max_tries: how many tries the task may have; the run keeps the first number.
            now: aware UTC.
        """
        columns = columns_of(request) | {
            "application_sha256": application_sha256,
            "principal": principal,
            "dag_id": dag_id,
            "dag_run_id": dag_run_id,
            "task_id": task_id,
            "map_index": map_index,
            "task_try": task_try,
            "task_max_tries": task_max_tries,
        }
        with self._connect() as connection:
            return opening.open_run(
                connection, columns, clears=clears, instead_of=instead_of, now=now
            )

    def repaired_by_key(self, run_id: UUID, *, principal: str, idempotency_key: str) -> Run | None:
        """The run that an earlier request with this key has put in the place of `run_id`.

        Raises:
            IdempotencyConflict: that key came with another run before.
        """
        with self._connect() as connection:
            return repairing.repaired_by_key(
                connection, run_id, principal=principal, idempotency_key=idempotency_key
            )

    def repair(
        self,
        run_id: UUID,
        *,
        principal: str,
        idempotency_key: str,
        version: int | None = None,
        cleared: Collection[tuple[str, int]],
        max_open: int | None = None,
        now: datetime,
    ) -> tuple[Run, bool]:
        """Write the run that takes the place of one that ended badly, before Airflow is asked.

        Args:
            run_id: the run that ended badly.
            principal: who asks; keys of different principals never meet.
            idempotency_key: as the caller sent it.
            version: the version that the caller has read, or None for any.
            cleared: the failed tasks of its DAG run, by task_id and map_index: each starts
                a new run when it comes.
            max_open: as of `accept`; the run counts for `principal`, whosever it is.
            now: aware UTC.

        Returns:
            The run, and whether it was there already (replayed).

        Raises:
            Conflict: it has not ended badly, or another run has taken its place.
            Stale: the same, or another version by now, for a caller who names a version.
            IdempotencyConflict: that key came with another run before.
            LimitReached: the principal has `max_open` others.
        """
        with self._connect() as connection:
            return repairing.repair(
                connection,
                run_id,
                principal=principal,
                idempotency_key=idempotency_key,
                version=version,
                cleared=cleared,
                max_open=max_open,
                now=now,
            )

    def withdraw_repair(self, run_id: UUID, *, now: datetime) -> None:
        """Forget the run of a repair that Airflow refused: the old one is in its place again.

        Raises:
            Conflict: it is past ACCEPTED, so somebody knows of it.
        """
        with self._connect() as connection:
            repairing.withdraw(connection, run_id, now=now)

    # --- attempts -------------------------------------------------------------------------

    def start_attempt(
        self, run_id: UUID, *, backend: str, at_most: int | None = None, now: datetime
    ) -> AttemptGrant:
        """Open the next attempt and fence all earlier ones.

        Waits while the run is being published.

        Args:
            run_id: the run.
            backend: where it will run.
            at_most: how many runs of its job may be active, this one included; None: any.
            now: aware UTC.

        Raises:
            JobBusy: there are so many already, and this run has not been started yet.
            Conflict: the run has ended or shall be cancelled.
            Unavailable: an earlier driver still holds its lease.
        """
        with self._connect() as connection:
            return attempts.start(connection, run_id, backend=backend, at_most=at_most, now=now)

    def give_up(
        self,
        run_id: UUID,
        *,
        attempt: int | None = None,
        only_if: Collection[Detail] = (),
        now: datetime,
    ) -> bool:
        """Fence off the attempts of a run so far: should a driver wake up, it may do no more.

        Args:
            run_id: the run.
            attempt: number of the attempt that is given up; None: the newest.
            only_if: states in which it is given up, unless its driver holds a lease; empty:
                in any.
            now: aware UTC.

        Returns:
            Whether it was given up.

        Raises:
            Conflict: the run is at another attempt by now.
        """
        with self._connect() as connection:
            return attempts.give_up(connection, run_id, attempt=attempt, only_if=only_if, now=now)

    def submitted(
        self, attempt_id: UUID, *, external_id: str, ui_url: str | None = None, now: datetime
    ) -> None:
        """The backend has taken the attempt; the driver may have claimed it meanwhile.

        May be called again when `ui_url` is known.
        """
        with self._connect() as connection:
            attempts.submitted(
                connection, attempt_id, external_id=external_id, ui_url=ui_url, now=now
            )

    # --- how a run ends -------------------------------------------------------------------

    # `attempt` is the number of the attempt that the caller has judged: a run that is at
    # another one by now is left alone, by a Conflict. None: whichever it is.

    def finalizing(self, run_id: UUID, now: datetime, *, attempt: int | None = None) -> Run:
        """The driver is done; the outputs are being checked and published.

        From now on nobody cancels the run. One that shall be cancelled already is left as it
        is: look at `detail`.
        """
        with self._connect() as connection:
            return ending.finalizing(connection, run_id, attempt=attempt, now=now)

    def lost(self, run_id: UUID, *, attempt: int | None = None, now: datetime) -> Run:
        """The driver's lease is over; a sign of life brings the run back to RUNNING."""
        with self._connect() as connection:
            return ending.lost(connection, run_id, attempt=attempt, now=now)

    def finish(
        self,
        run_id: UUID,
        *,
        detail: Detail,
        failure: Failure | None = None,
        result: Mapping[str, Any] | None = None,
        clears: int | None = None,
        retry_at: datetime | None = None,
        attempt: int | None = None,
        now: datetime,
    ) -> Run:
        """End a run (a terminal `detail`), or end this try of it (`RETRY_WAIT`).

        To finish it again with the same `detail` changes nothing but `clears`.

        Args:
            run_id: the run.
            detail: how.
            failure: why, where that was not success.
            result: JSON values.
            clears: how often the DAG run was cleared, from the task that hears
                of the end by this; None from anybody else.
            retry_at: with RETRY_WAIT, when the next attempt may begin.
            attempt: number of the attempt that the caller has judged; None: of none.
            now: aware UTC.

        Raises:
            Conflict: the run ended otherwise before, or is at another attempt by now.
        """
        with self._connect() as connection:
            return ending.finish(
                connection,
                run_id,
                detail=detail,
                failure=failure,
                result=result,
                clears=clears,
                retry_at=retry_at,
                attempt=attempt,
                now=now,
            )

    def cancel(
        self,
        run_id: UUID,
        *,
        grace_s: float | None = None,
        version: int | None = None,
        now: datetime,
    ) -> Run:
        """Ask for the end of a run; one that has no driver yet ends at once.

        Any other ends with its driver (`driver.finish`), or when somebody finds
        that the driver is gone. A run that has ended is returned as it is.

        Args:
            run_id: the run.
            grace_s: seconds that the application gets from SIGTERM on; None: the usual five.
            version: the version that the caller has read, or None for any.
            now: aware UTC.

        Raises:
            Conflict: the run is being published.
            Stale: the run has another version by now.
        """
        with self._connect() as connection:
            return ending.cancel(connection, run_id, grace_s=grace_s, version=version, now=now)

    def deadline_missed(
        self,
        *,
        dag_id: str,
        dag_run_id: str,
        job: str | None,
        deadline_id: str,
        due: datetime,
        now: datetime,
    ) -> None:
        """Write the event of a missed deadline; the same deadline again changes nothing."""
        data = {
            "dag_id": dag_id,
            "dag_run_id": dag_run_id,
            "job": job,
            "deadline_id": deadline_id,
            "due": due.astimezone(UTC).isoformat(),
        }
        values = {"dag_id": dag_id, "dag_run_id": dag_run_id, "data": Jsonb(data), "now": now}
        with self._connect() as connection:
            connection.execute(statement("deadline_missed"), values)

    def stop_driver(
        self,
        run_id: UUID,
        *,
        attempt: int | None = None,
        task_try: int | None = None,
        now: datetime,
    ) -> bool:
        """Have the driver of a run end; how the run ends is for the caller to say.

        Returns:
            Whether it is. A run whose driver has succeeded is left as it is: its outputs are
            to be published.

        Raises:
            Conflict: another try of the task than `task_try` carries the run by now.
        """
        with self._connect() as connection:
            return ending.stop_driver(
                connection, run_id, attempt=attempt, task_try=task_try, now=now
            )

    @contextmanager
    def publishing(self, attempt_id: UUID) -> Iterator[RightToPublish]:
        """Hold the right to publish the outputs of an attempt.

        While it is held no newer attempt of the run can start, and nobody else
        publishes this one. What `complete` was told is kept when it is given back.

        Raises:
            Conflict: a newer attempt exists, or the run has ended.
            Unavailable: another process holds it.
        """
        with self._connect() as connection:
            yield attempts.right_to_publish(connection, attempt_id)

    @contextmanager
    def _connect(self) -> Iterator[AnyConnection]:
        """A connection whose changes carry the actor's name."""
        with self._open() as connection:
            connection.execute("select set_config('dataharbour.actor', %s, true)", [self._actor])
            yield connection
