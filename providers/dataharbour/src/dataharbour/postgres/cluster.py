"""Make a PostgreSQL cluster and its roles and databases; say how its server is started.

Does the I/O. The server listens on the loopback address only, by password, and has no socket file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from dataharbour.errors import PlatformError
from dataharbour.postgres.binaries import binary

SUPERUSER = "postgres"


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system's user that a server runs as (PostgreSQL refuses root)."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """One PostgreSQL server.

    Attributes:
        data: the data folder.
        port: on 127.0.0.1.
        password: of the superuser `postgres`.
        account: whom the server runs as; None for the caller's own user.
    """

    data: Path
    port: int
    password: str
    account: Account | None = None

    def conninfo(self, database: str = "postgres") -> str:
        """How the superuser connects."""
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1",
            port=self.port,
            user=SUPERUSER,
            password=self.password,
            dbname=database,
        )


def is_complete(data: Path) -> bool:
    """Whether `data` holds a cluster. ``initdb`` runs beside it, so a half-made one never does."""
    return os.path.exists(data / "PG_VERSION")  # False also where one may not look


def initialise(cluster: Cluster, *, environment: Mapping[str, str] = {}) -> None:
    """Make the cluster beside its place with ``initdb`` and move it there when it is whole.

    No other ``initdb`` may be at work on it.

    Args:
        cluster: its data folder is absent or empty.
        environment: what ``initdb`` gets besides its own variables.

    Raises:
        PlatformError: ``initdb`` failed, or something else lies in the data folder.
    """
    draft = cluster.data.with_name(f"{cluster.data.name}.new")
    if draft.exists():
        shutil.rmtree(draft)  # left by a start that was killed
    draft.mkdir(parents=True, mode=0o700)
    if cluster.account:
        os.chown(draft, cluster.account.uid, cluster.account.gid)
    read_end, write_end = os.pipe()  # the password goes by a pipe, never by an argument or a file
    os.write(write_end, cluster.password.encode() + b"\n")
    os.close(write_end)
    if cluster.account:
        os.fchown(read_end, cluster.account.uid, cluster.account.gid)
    command = [
        str(binary("initdb")), "--pgdata", str(draft), "--username", SUPERUSER,
        "--auth", "scram-sha-256", f"--pwfile=/proc/self/fd/{read_end}", "--encoding", "UTF8",
        "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C",
        "--data-checksums", "--no-instructions",
    ]  # fmt: skip
    try:
        _run_as(cluster.account, command, pass_fds=(read_end,), environment=environment)
    finally:
        os.close(read_end)
    try:
        draft.rename(cluster.data)  # initdb has synced what is in it
    except OSError as error:
        raise PlatformError(
            f"{cluster.data} is in the way of a new cluster ({error.strerror}) and is none itself.",
            "Move it away.",
        ) from error
    _sync(cluster.data.parent)


def server_command(cluster: Cluster, settings: Mapping[str, str] = {}) -> list[str]:
    """The command line of the server, in the foreground. Holds no secret."""
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(cluster.port),
        "unix_socket_directories": "",
        **settings,
    }
    command = [str(binary("postgres")), "-D", str(cluster.data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    return command


def answers(cluster: Cluster) -> str | None:
    """None when the server takes connections, else what it says instead."""
    try:
        with psycopg.connect(cluster.conninfo(), connect_timeout=2):
            return None
    except psycopg.OperationalError as error:
        return str(error).strip().splitlines()[-1]


def ensure_role(connection: psycopg.Connection, name: str, password: str) -> None:
    """Make the login role `name`, or give it `password`."""
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    verb = sql.SQL("ALTER" if exists else "CREATE")
    connection.execute(
        sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(
            verb, sql.Identifier(name), sql.Literal(_scram(connection, name, password))
        )
    )


def ensure_database(connection: psycopg.Connection, name: str, *, owner: str) -> None:
    """Make the database `name`, closed to everyone but `owner`, unless it is there."""
    found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
    if not found:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(owner)
            )
        )
    connection.execute(
        sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
    )


def _scram(connection: psycopg.Connection, role: str, password: str) -> str:
    # Hashed here, so that the clear password reaches neither the server's log nor pg_stat_activity.
    hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    return hashed.decode()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _run_as(
    account: Account | None,
    command: Sequence[str],
    *,
    pass_fds: tuple[int, ...],
    environment: Mapping[str, str],
) -> None:
    done = subprocess.run(
        command,
        cwd=tempfile.gettempdir(),  # the caller's folder may be closed to the account
        env={**environment, "PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    if done.returncode:
        raise PlatformError(
            f"{Path(command[0]).name} ended with exit code {done.returncode}: "
            + (done.stderr or done.stdout).strip()[-600:],
            "Check the free disk space and that the state folder can be entered by that user.",
        )
