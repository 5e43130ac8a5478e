"""What tests of every kind share: a real PostgreSQL 18, and a migrated database in it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import conninfo, sql

if TYPE_CHECKING:
    from dataharbour.testing.running_platform import RunningPlatform

DRIVER_PASSWORD = "driver-password-of-the-tests"


# Fixtures that start a server or a program of some weight; `harbour check` leaves their tests out.
STARTERS = {
    "postgres", "platform", "breakable", "connect_server", "connect_process", "spark_cluster",
    "lake_bucket", "vault_bucket", "supervised", "source_cluster",
}  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that start something; in several processes, what takes longest comes first."""
    for item in items:
        if STARTERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("service")
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _LONGEST_FIRST.get(shared_by(item.nodeid), len(_LONGEST_FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Have tests in one process that share what is too dear to be started by two."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return shared_by(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


_LONGEST_FIRST = {"platform": 0, "clusters": 1, "platforms": 2, "stores": 3}
_PLATFORMS = (  # each makes its own, or none
    "tests/integration/bootstrap", "tests/integration/test_folder_lake.py",
    "tests/integration/test_platform_faults.py", "tests/integration/test_scheduler_beside.py",
    "tests/faults",
)  # fmt: skip


def shared_by(nodeid: str) -> str:
    """What a test has in common with others; for most that is their file."""
    file = nodeid.partition("::")[0]
    if file.startswith(_PLATFORMS):
        return "platforms"
    if file.startswith(("tests/integration/", "tests/browser/")):
        return "platform"
    if file.startswith("tests/contract/jobs/"):
        return "clusters"
    return "stores" if file.startswith("tests/contract/") else file


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL 18 of its own; the conninfo of its superuser."""
    from dataharbour.testing.clusters import running_cluster

    # Tests come as any role, and many of them know no password.
    settings = {"max_connections": "200", "fsync": "off"}
    with running_cluster(settings, access="host all all 127.0.0.1/32 trust\n") as running:
        yield running.cluster.conninfo()


@pytest.fixture(scope="session")
def platform() -> Iterator[RunningPlatform]:
    """The embedded platform, started once per test run."""
    from dataharbour.testing.running_platform import running_platform

    has_notebooks = find_spec("jupyterlab") is not None  # `harbour test` installs it
    with running_platform(*(["--notebooks"] if has_notebooks else [])) as running:
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
