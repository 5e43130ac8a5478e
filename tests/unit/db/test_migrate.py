from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import psycopg
import pytest
from psycopg import conninfo, sql

from dataharbour.db.engine import connect
from dataharbour.db.migrate import DRIVER_FUNCTIONS, DRIVER_ROLE, migrate
from dataharbour.errors import Unavailable

VERSIONS = files("dataharbour.db.migrations") / "versions"
NEWEST = max(file.name.partition("_")[0] for file in VERSIONS.iterdir() if file.name[0].isdigit())


@pytest.fixture
def empty(postgres: str):
    name = f"e_{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield conninfo.make_conninfo(postgres, dbname=name)
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def tables(database: str) -> set[str]:
    with connect(database) as connection:
        rows = connection.execute("select tablename from pg_tables where schemaname = 'public'")
        return {name for (name,) in rows}


def revision(database: str) -> str:
    """The newest migration that the database has."""
    with connect(database) as connection:
        return connection.execute("select version_num from schema_version").fetchone()[0]


def test_an_empty_database_gets_the_schema(empty):
    migrate(empty, "pw")
    assert tables(empty) == {
        "run",
        "attempt",
        "event",
        "log_chunk",
        "job_definition",
        "repair",
        "schema_version",
    }
    assert revision(empty) == NEWEST


def test_a_second_time_changes_nothing_but_the_password(empty):
    migrate(empty, "old")
    with connect(empty) as connection:
        connection.execute("insert into event (at, kind, actor) values (now(), 'kept', 'x')")
    migrate(empty, "new %s 'quoted'")
    with connect(empty) as connection:
        assert connection.execute("select kind from event").fetchall() == [("kept",)]
    with connect(empty) as admin:
        shown = admin.execute(
            "select rolpassword from pg_authid where rolname = %s", [DRIVER_ROLE]
        ).fetchone()[0]
    assert shown.startswith("SCRAM-SHA-256$")


def test_several_at_once_are_one(empty):
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: migrate(empty, "pw"), range(3)))
    assert revision(empty) == NEWEST


def test_a_failed_migration_leaves_nothing(empty):
    with connect(empty) as connection:
        connection.execute("create schema driver")  # in the way of the second file
    with pytest.raises(psycopg.errors.DuplicateSchema):
        migrate(empty, "pw")
    assert tables(empty) == set()


def test_a_url_is_as_good_as_a_libpq_string(empty):
    parts = conninfo.conninfo_to_dict(empty)
    url = "postgresql://{user}@{host}:{port}/{dbname}".format(**parts)
    migrate(url, "pw")
    assert revision(url) == NEWEST


def test_a_server_that_is_away_is_told_without_the_password():
    with pytest.raises(Unavailable, match="does not accept the connection") as caught:
        migrate("host=127.0.0.1 port=1 user=x password=s3cret", "pw")
    assert "s3cret" not in str(caught.value)


def test_the_role_of_drivers_can_call_its_functions_and_nothing_else(driver_database, database):
    with psycopg.connect(driver_database, autocommit=True) as driver:
        for table in ("run", "attempt", "event", "log_chunk", "schema_version"):
            for statement in (
                "select * from {}",
                "delete from {}",
                "insert into {} default values",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    driver.execute(sql.SQL(statement).format(sql.Identifier("public", table)))
        for statement in ("create table x (i int)", "create temp table x (i int)",
                          "create schema x", "create role x", "set role postgres",
                          "select driver.own(null, null)",
                          "select driver.close_cancelled(null, null)",
                          "select pg_read_file('/etc/passwd')",
                          "copy (select 1) to program 'true'"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                driver.execute(statement)
    with psycopg.connect(database) as admin:
        granted = admin.execute(
            "select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
            "where has_function_privilege(%s, p.oid, 'execute') "
            "and n.nspname in ('driver', 'public') and p.prorettype <> 'trigger'::regtype",
            [DRIVER_ROLE],
        )
        assert {name for (name,) in granted} == set(DRIVER_FUNCTIONS)


def test_the_functions_of_drivers_cannot_be_led_astray(database):
    with psycopg.connect(database) as admin:
        rows = admin.execute(
            "select p.proname, p.prosecdef, p.proconfig from pg_proc p "
            "join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'driver'"
        ).fetchall()
    assert {name for name, *_ in rows} == {*DRIVER_FUNCTIONS, "own", "close_cancelled"}
    for name, definer, settings in rows:
        assert definer, name
        assert settings == ["search_path=pg_catalog, pg_temp"], name
