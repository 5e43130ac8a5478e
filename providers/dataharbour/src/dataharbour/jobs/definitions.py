"""Keep the jobs that are stored over REST: in the database, which is the truth, and their mirror.

One change at a time (an advisory lock): precondition, row, event and file are one step. The
file is written before the commit, so a disk that is full refuses the change; a crash between
the two leaves a file that `repair` makes say again what the database does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Json

from dataharbour.errors import Conflict, DataHarbourError, JobNotFound, Unavailable
from dataharbour.jobs.mirror import clear_temporary, mirror_text, remove_mirror, write_mirror
from dataharbour.jobs.reading import ConnectRuns
from dataharbour.jobs.statements import AnyConnection, Row, fetch_all, fetch_one, statement

_LOCK = 0x68_61_72_6A_6F_62_73  # "harjobs"


@dataclass(frozen=True)
class Definition:
    """A stored job.

    Attributes:
        version: grows with each change, also over a deletion: it is never used twice.
        changed_by: the user who stored this version.
    """

    name: str
    document: Mapping[str, Any]
    version: int
    changed_by: str
    changed_at: datetime


Judge = Callable[[Definition | None], None]
"""Looks at what is stored (None: nothing) and raises when the change shall not be."""


class DefinitionStore:
    """The stored jobs.

    Args:
        connect: as `RunStore` takes it.
        folder: of the mirror.
    """

    def __init__(self, connect: ConnectRuns, folder: Path) -> None:
        self._open = connect
        self._folder = folder

    def all(self) -> dict[str, Definition]:
        """The stored jobs, by name."""
        with self._open() as connection:
            rows = fetch_all(connection, statement("job_definitions"), {})
        return {row["name"]: _definition(row) for row in rows if row["document"] is not None}

    def put(
        self, name: str, document: Mapping[str, Any], *, judge: Judge, user: str, now: datetime
    ) -> tuple[Definition, bool]:
        """Store a checked document, unless `judge` has something against it.

        To store what is stored already changes nothing.

        Returns:
            What is stored, and whether there was nothing of this name before.

        Raises:
            Unavailable: the mirror could not be written; nothing was changed.
        """
        with self._changing(user) as connection:
            row = fetch_one(connection, statement("job_definition"), {"name": name})
            before = _definition(row) if row and row["document"] is not None else None
            judge(before)
            if before is not None and before.document == document:
                self._mirror(before)
                return before, False
            values = {"name": name, "document": Json(document), "changed_by": user, "now": now}
            stored = fetch_one(connection, statement("job_definition_stored"), values)
            assert stored is not None, "the statement returns its row"
            definition = _definition(stored)
            self._mirror(definition)
            return definition, before is None

    def delete(self, name: str, *, judge: Judge, user: str, now: datetime) -> None:
        """Forget a stored job; its history stays.

        Raises:
            JobNotFound: there is none of that name.
            Conflict: runs of it have not ended.
            Unavailable: the mirror could not be removed; nothing was changed.
        """
        with self._changing(user) as connection:
            row = fetch_one(connection, statement("job_definition"), {"name": name})
            before = _definition(row) if row and row["document"] is not None else None
            judge(before)
            if before is None:
                raise JobNotFound(f"There is no stored job {name!r}.", "List them: GET jobs.")
            active = fetch_one(connection, statement("active_runs_of_job"), {"name": name})
            if active and active["runs"]:
                raise Conflict(
                    f"The job {name} has {active['runs']} runs that have not ended "
                    f"(the newest is {active['newest']}).",
                    "Wait for their end, or cancel them: harbour job cancel ID.",
                )
            values = {"name": name, "document": None, "changed_by": user, "now": now}
            fetch_one(connection, statement("job_definition_stored"), values)
            with _as_unavailable(self._folder):
                remove_mirror(self._folder, name, is_ours=True)

    def repair(self) -> list[str]:
        """Make the mirror say what the database does; the jobs whose file was wrong.

        Raises:
            Unavailable: the folder cannot be written.
        """
        with self._locked("repair") as connection:
            rows = fetch_all(connection, statement("job_definitions"), {})
            with _as_unavailable(self._folder):
                clear_temporary(self._folder)
                return [row["name"] for row in rows if self._repaired(row)]

    def _repaired(self, row: Row) -> bool:
        if row["document"] is None:
            return remove_mirror(self._folder, row["name"], is_ours=False)
        return self._mirror(_definition(row))

    def _mirror(self, stored: Definition) -> bool:
        with _as_unavailable(self._folder):
            text = mirror_text(stored.document, version=stored.version)
            return write_mirror(self._folder, stored.name, text)

    @contextmanager
    def _changing(self, user: str) -> Iterator[AnyConnection]:
        """A transaction beside which there is no other; the mirror is mended if it fails late."""
        try:
            with self._locked(f"user:{user}") as connection:
                yield connection
        except psycopg.Error:
            with suppress(DataHarbourError, psycopg.Error):
                self.repair()
            raise

    @contextmanager
    def _locked(self, actor: str) -> Iterator[AnyConnection]:
        with self._open() as connection:
            connection.execute("select set_config('dataharbour.actor', %s, true)", [actor])
            connection.execute("set local lock_timeout = '10s'")
            try:
                connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
            except psycopg.errors.LockNotAvailable as error:
                raise Unavailable("Another change of jobs takes long.", "Try again.") from error
            yield connection


@contextmanager
def _as_unavailable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"The folder {folder} cannot be written ({error.strerror}); nothing was changed.",
            "Make room on its disk, or let the API server's account write there.",
        ) from error


def _definition(row: Row) -> Definition:
    return Definition(**{**row, "changed_at": row["changed_at"].astimezone(UTC)})
