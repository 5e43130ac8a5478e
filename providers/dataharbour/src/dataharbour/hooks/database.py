"""Turn the connection ``dataharbour_db`` into connections to the database `dataharbour`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow.providers.postgres.hooks.postgres import PostgresHook

from dataharbour.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from dataharbour.db.engine import Connect, Connection
    from dataharbour.jobs.definitions import DefinitionStore
    from dataharbour.jobs.store import RunStore

# libpq options that say how to reach and trust the server, and nothing else.
# Source: https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
ALLOWED_EXTRAS = (
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "channel_binding",
    "target_session_attrs",
)


class DataHarbourDatabaseHook(PostgresHook):
    """Opens the database that holds runs, attempts, events and log chunks.

    Args:
        postgres_conn_id: an Airflow connection of type ``postgres``. Of its
            extras only those of `ALLOWED_EXTRAS` are read; all others are ignored.
    """

    default_conn_name = "dataharbour_db"
    conn_type = "dataharbour_database"  # a form of its own; the plain type works as well
    hook_name = "DataHarbour database"
    application_name = "dataharbour task"

    def __init__(self, postgres_conn_id: str = default_conn_name) -> None:
        super().__init__(postgres_conn_id=postgres_conn_id)

    def conninfo(self) -> str:
        """The libpq connection string. It holds the password: never log it.

        Raises:
            ConfigError: the connection names no host, or no database.
        """
        return _conninfo(self.get_connection(self.get_conn_id()))

    async def aconninfo(self) -> str:
        """`conninfo`, for triggers.

        In a thread, and not by `aget_connection`: what stands for Airflow's supervisor under
        ``airflow dags test`` answers no coroutine, and the connection would not be found.
        """
        return await asyncio.to_thread(self.conninfo)

    def connect(self) -> Connect:
        """A factory of connections; Airflow is asked for the connection once, here."""
        from dataharbour.db.engine import connector

        return connector(self.conninfo(), application_name=self.application_name)

    def get_conn(self) -> Connection:
        """One connection, by the same rules as `connect`."""
        return self.connect()()

    def run_store(self, *, actor: str) -> RunStore:
        """The store of runs in this database; the events name `actor` for its changes."""
        from dataharbour.db.engine import Kept
        from dataharbour.jobs.store import RunStore

        return RunStore(Kept(self.connect()), actor=actor)

    def definition_store(self, folder: Path) -> DefinitionStore:
        """The jobs that were stored over REST; their files are in `folder`."""
        from dataharbour.jobs.definitions import DefinitionStore

        return DefinitionStore(self.connect(), folder)


def _conninfo(conn: Any) -> str:
    from psycopg.conninfo import make_conninfo

    if not (conn.host and conn.schema):
        missing = "host" if not conn.host else "database (schema)"
        raise ConfigError(
            f"Connection {conn.conn_id!r} has no {missing}.",
            f"Admin > Connections > {conn.conn_id}: set host, port, login, password and database.",
        )
    extra = conn.extra_dejson
    return make_conninfo(
        host=conn.host,
        port=conn.port,
        user=conn.login,
        password=conn.password,
        dbname=conn.schema,
        **{name: extra[name] for name in ALLOWED_EXTRAS if name in extra},
    )
