"""Read runs, attempts, events and logs; `RunStore` adds what changes them.

Each call is one transaction. The statements are in the modules by subject: `attempts`, `figures`,
`history`, `listing`, `logs`, `repairing`, `waiting`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import date, datetime
from uuid import UUID

from dataharbour.jobs import attempts, figures, history, listing, logs, repairing, waiting
from dataharbour.jobs.figures import Day, Stats
from dataharbour.jobs.model import Attempt, AttemptState, Event, LogPage, Page, Run, RunFilter
from dataharbour.jobs.rows import run_of
from dataharbour.jobs.statements import AnyConnection, fetch_all, fetch_one, statement
from dataharbour.jobs.transitions import read_run

ConnectRuns = Callable[[], AbstractContextManager[AnyConnection]]
Attempts = list[Attempt]
Events = list[Event]
Runs = list[Run]
Days = list[Day]
EVERY_RUN = RunFilter()


class RunReader:
    """Runs, attempts, events and logs, as they are.

    Args:
        connect: opens a connection to the database `dataharbour`, for use in
            `with` (which commits and closes or returns it): `db.engine.connector`
            or the method `connection` of a pool.
    """

    def __init__(self, connect: ConnectRuns) -> None:
        self._open = connect

    def get(self, run_id: UUID) -> Run:
        """One run.

        Raises:
            RunNotFound: there is none with that id.
        """
        with self._open() as connection:
            return read_run(connection, run_id)

    def find(
        self, *, dag_id: str, dag_run_id: str, task_id: str | None = None, map_index: int = -1
    ) -> Run | None:
        """The newest run of a task instance; without `task_id`, of the DAG run."""
        key = {
            "dag_id": dag_id,
            "dag_run_id": dag_run_id,
            "task_id": task_id,
            "map_index": map_index,
        }
        with self._open() as connection:
            row = fetch_one(connection, statement("newest_run"), key)
        return None if row is None else run_of(row)

    def unattended(self, *, before: datetime, after: UUID | None = None, limit: int) -> Runs:
        """Runs that have not ended and have not changed since `before`, oldest first.

        Args:
            before: aware UTC.
            after: the last run of the page before; None: from the first.
            limit: how many at most.
        """
        with self._open() as connection:
            values = {"before": before, "after": after, "limit": limit}
            rows = fetch_all(connection, statement("unattended_runs"), values)
        return [run_of(row) for row in rows]

    def events(self, run_id: UUID) -> Events:
        """Everything that happened to a run, oldest first.

        Raises:
            RunNotFound: there is none with that id.
        """
        return self.event_page(run_id, limit=None).items

    def event_page(
        self, run_id: UUID, *, cursor: str | None = None, limit: int | None
    ) -> Page[Event]:
        """What happened to a run after `cursor`, oldest first.

        `next` of the page goes on after it, also where nothing has happened yet;
        it is None once the run has ended and the page holds its last event.

        Raises:
            RunNotFound: there is none with that id.
            ConfigError: the cursor is not one that an earlier page gave.
        """
        with self._open() as connection:
            run = read_run(connection, run_id)
            return history.events(connection, run, cursor=cursor, limit=limit)

    def attempts(self, run_id: UUID) -> Attempts:
        """The attempts of a run, oldest first.

        Raises:
            RunNotFound: there is none with that id.
        """
        with self._open() as connection:
            return history.attempts(connection, read_run(connection, run_id))

    def long_over(
        self, attempt_ids: Collection[UUID], *, before: datetime
    ) -> dict[UUID, str | None]:
        """Of some attempts, those whose runs ended before a moment, and where their drivers were.

        An attempt whose driver still holds its lease is none of them.
        """
        with self._open() as connection:
            return history.long_over(connection, attempt_ids, before=before)

    def staged_in_vain(self, attempt_ids: Collection[UUID], *, before: datetime) -> list[UUID]:
        """Of some attempts, those whose staged outputs nobody will publish.

        Their runs declared outputs and ended before a moment; no driver of theirs holds its lease.
        """
        with self._open() as connection:
            return history.staged_in_vain(connection, attempt_ids, before=before)

    def repairs(self, run_id: UUID) -> Runs:
        """All runs that the task instance of this one has had, newest first.

        Raises:
            RunNotFound: there is none with that id.
        """
        with self._open() as connection:
            return repairing.repairs(connection, read_run(connection, run_id))

    def logs(self, run_id: UUID, *, cursor: str | None = None, limit: int = 1000) -> LogPage:
        """Log lines of all attempts, oldest first, from `cursor` on.

        Raises:
            RunNotFound: there is none with that id.
            ConfigError: the cursor is not one that an earlier page gave.
        """
        with self._open() as connection:
            run = read_run(connection, run_id)
            return logs.read_page(connection, run, cursor=cursor, limit=limit)

    def list(
        self, wanted: RunFilter = EVERY_RUN, *, limit: int, cursor: str | None = None
    ) -> Page[Run]:
        """Runs, newest first.

        Args:
            wanted: which.
            limit: most items of a page, at least 1.
            cursor: `next` of the page before.

        Raises:
            ConfigError: the cursor is not one that an earlier page gave.
        """
        with self._open() as connection:
            return listing.list_runs(connection, wanted, limit=limit, cursor=cursor)

    def stats(self, dag_ids: Collection[str], *, since: datetime) -> Stats:
        """How the runs of some DAGs stand, and how those fared that ended since a moment."""
        with self._open() as connection:
            return figures.stats(connection, dag_ids, since=since)

    def trends(self, dag_ids: Collection[str], *, days: int, today: date) -> Days:
        """The runs of some DAGs that ended on each of the last `days` days (UTC), oldest first."""
        with self._open() as connection:
            return figures.trends(connection, dag_ids, days=days, today=today)

    def attempt_state(self, attempt_id: UUID) -> AttemptState:
        """What is known of one attempt."""
        with self._open() as connection:
            return attempts.state(connection, attempt_id)

    def wait(self, run_id: UUID, *, timeout_s: float) -> AttemptState:
        """Wait until the newest attempt has ended, its lease has lapsed, or the time is over.

        Sleeps on a notification; the returned state tells which of the three it was
        (`ended`, `lapsed`, or neither).

        Raises:
            RunNotFound: no such run, or it has no attempt yet.
        """
        with self._open() as connection:
            return waiting.wait_for_end(connection, run_id, timeout_s=timeout_s)
