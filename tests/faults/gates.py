"""Hold a process at a chosen statement, and find it there: gates in the database.

Each gate is a trigger on one change of a row. It takes an advisory lock of the gate and the trial;
as long as the test holds that lock, whoever makes the change waits in the middle of its
transaction. That is how a process is killed at an exact step without a line for it in the product.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

_SPACE = 0x6661  # advisory locks of gates: (space, hash of the name)

# name -> table, event, condition
RUN_GATES = {
    "run inserted": ("run", "insert", "true"),
    "run queued": ("run", "update", "new.detail = 'QUEUED' and old.detail <> 'QUEUED'"),
    "run finalizing": ("run", "update", "new.detail = 'FINALIZING' and old.detail <> new.detail"),
    "run succeeded": ("run", "update", "new.detail = 'SUCCEEDED' and old.detail <> new.detail"),
    "attempt inserted": ("attempt", "insert", "true"),
    "attempt recorded": (
        "attempt",
        "update",
        "old.external_id is null and new.external_id is not null",
    ),
    "attempt claimed": ("attempt", "update", "new.state = 'RUNNING' and old.state <> 'RUNNING'"),
    "attempt published": (
        "attempt",
        "update",
        "old.published is null and new.published is not null",
    ),
    "attempt succeeded": (
        "attempt",
        "update",
        "new.state = 'SUCCEEDED' and old.state <> new.state",
    ),
}
AIRFLOW_GATES = {"dag run inserted": ("dag_run", "insert", "new.run_id like 'api__%'")}

_FUNCTION = """
create or replace function public.fault_gate() returns trigger language plpgsql as $$
declare
    trial text;
begin
    {trial}
    perform pg_catalog.pg_advisory_xact_lock_shared(
        {space}, pg_catalog.hashtext(pg_catalog.concat(tg_argv[0], ' of ', trial)));
    return new;
end $$
"""
_TRIAL_OF_RUN = """
    if tg_table_name = 'run' then
        trial := new.params->>'trial';
    else
        select r.params->>'trial' into trial from public.run r where r.id = new.run_id;
    end if;
"""
_TRIAL_OF_DAG_RUN = "trial := new.conf->>'trial';"


@dataclass(frozen=True)
class Gates:
    """The gates of one database, as its superuser."""

    conninfo: str

    @classmethod
    def install(cls, superuser: str, database: str) -> Gates:
        """Put the gates into the database `dataharbour` or `airflow`."""
        gates = cls(make_conninfo(superuser, dbname=database))
        chosen = AIRFLOW_GATES if database == "airflow" else RUN_GATES
        with psycopg.connect(gates.conninfo, autocommit=True) as connection:
            trial = _TRIAL_OF_DAG_RUN if database == "airflow" else _TRIAL_OF_RUN
            connection.execute(_FUNCTION.format(space=_SPACE, trial=trial))
            for name, (table, event, condition) in chosen.items():
                connection.execute(
                    sql.SQL(
                        "create or replace trigger {} before {} on public.{} for each row when ("
                        + condition
                        + ") execute function public.fault_gate({})"
                    ).format(
                        sql.Identifier(f"aa_{name}"),
                        sql.SQL(event),
                        sql.Identifier(table),
                        sql.Literal(name),
                    )
                )
        return gates

    @contextmanager
    def closed(self, name: str, *, trial: str) -> Iterator[Gate]:
        """Keep the gate closed for a trial until the block ends, or `Gate.open`."""
        key = f"{name} of {trial}"
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute("select pg_advisory_lock(%s, hashtext(%s))", [_SPACE, key])
            yield Gate(key, connection)


@dataclass(frozen=True)
class Waiter:
    """Somebody at a gate: the server's process, and the client's."""

    backend: int
    client: int


@dataclass(frozen=True)
class Gate:
    """A closed gate."""

    name: str
    connection: psycopg.Connection[tuple[object, ...]]

    def wait(self, *, seconds: float = 90) -> Waiter:
        """Who waits at the gate, once somebody does.

        Raises:
            TimeoutError: nobody came.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            row = self.connection.execute(
                """
                select a.pid, a.client_port
                from pg_locks l join pg_stat_activity a on a.pid = l.pid
                where l.locktype = 'advisory' and not l.granted
                  and l.classid = %s::oid and l.objid = (hashtext(%s)::bigint & 4294967295)::oid
                limit 1
                """,
                [_SPACE, self.name],
            ).fetchone()
            if row is not None and (client := process_at(int(str(row[1])))) is not None:
                return Waiter(int(str(row[0])), client)
            time.sleep(0.02)
        raise TimeoutError(f"nobody came to the gate {self.name!r} within {seconds} s")

    def roll_back(self, waiter: Waiter) -> None:
        """End the waiter's transaction on the server, as if its client's end had been seen."""
        self.connection.execute("select pg_terminate_backend(%s, 5000)", [waiter.backend])

    def open(self) -> None:
        """Let everybody pass."""
        self.connection.execute("select pg_advisory_unlock_all()")


def process_at(port: int) -> int | None:
    """The process whose TCP socket has this local port on 127.0.0.1."""
    inode = None
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[3] == "01":
            inode = fields[9]
    if inode is None:
        return None
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            links = [str(link.readlink()) for link in (entry / "fd").iterdir()]
        except OSError:
            continue
        if f"socket:[{inode}]" in links:
            return int(entry.name)
    return None


def children_of(pid: int) -> list[int]:
    """The direct children of a process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == pid:
            found.append(int(entry.name))
    return found


def parent_of(pid: int) -> int:
    """The parent of a process."""
    return int(re.split(r"\s+", Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2])[2])
