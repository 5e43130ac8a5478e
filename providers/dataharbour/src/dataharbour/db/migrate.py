"""Bring the database `dataharbour` to the newest schema, and the drivers' role with it."""

from __future__ import annotations

from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from psycopg import errors, sql
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection as AlchemyConnection
from sqlalchemy.pool import NullPool

from dataharbour.db.engine import Connection, connect

DRIVER_ROLE = "harbour_driver"
DRIVER_FUNCTIONS = ("claim", "claim_by_ticket", "renew", "log", "progress", "metrics", "finish")

_LOCK = 0x68_61_72_62_6F_75_72  # "harbour"; one migration at a time


def migrate(conninfo: str, driver_password: str) -> None:
    """Create or update the schema, and the role that Spark drivers use.

    Safe to call again, and from several processes at once.

    Args:
        conninfo: libpq string or URL of the database, as its owner; the owner
            also needs CREATEROLE.
        driver_password: password that the role `harbour_driver` shall have.

    Raises:
        Unavailable: PostgreSQL did not let us in.
    """
    with connect(conninfo, autocommit=True, application_name="dataharbour migrate") as guard:
        guard.execute("select pg_advisory_lock(%s)", [_LOCK])
        _upgrade(conninfo)
        with guard.transaction():
            _set_driver_role(guard, driver_password)


def _upgrade(conninfo: str) -> None:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connect(conninfo), poolclass=NullPool
    )
    with as_file(files("dataharbour.db.migrations")) as folder, engine.begin() as connection:
        command.upgrade(_config(str(folder), connection), "head")


def _config(folder: str, connection: AlchemyConnection) -> Config:
    config = Config()
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _set_driver_role(connection: Connection, password: str) -> None:
    """Give the role its password and its functions, and nothing else."""
    role, database = sql.Identifier(DRIVER_ROLE), sql.Identifier(connection.info.dbname)
    exists = connection.execute("select 1 from pg_roles where rolname = %s", [DRIVER_ROLE])
    if exists.fetchone() is None:
        try:
            with connection.transaction():
                connection.execute(sql.SQL("create role {}").format(role))
        except (errors.DuplicateObject, errors.UniqueViolation):
            pass  # another database of this cluster was migrated at the same moment
    # Hashed here, so that the server's log can never show it.
    hashed = connection.pgconn.encrypt_password(
        password.encode(), DRIVER_ROLE.encode(), b"scram-sha-256"
    ).decode()
    connection.execute(
        sql.SQL("alter role {} login noinherit password {}").format(role, sql.Literal(hashed))
    )
    connection.execute(sql.SQL("revoke all on database {} from public").format(database))
    connection.execute(sql.SQL("grant connect on database {} to {}").format(database, role))
    connection.execute(sql.SQL("grant usage on schema driver to {}").format(role))
    for name in DRIVER_FUNCTIONS:
        connection.execute(
            sql.SQL("grant execute on function driver.{} to {}").format(sql.Identifier(name), role)
        )
