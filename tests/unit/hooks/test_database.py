from __future__ import annotations

import asyncio

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ConnectionResult
from airflow.sdk.execution_time.supervisor import InProcessSupervisorComms
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.hooks.database import DataHarbourDatabaseHook

FIELDS = {
    "conn_type": "postgres",
    "host": "db.example",
    "port": 5433,
    "login": "dataharbour",
    "password": "p w'\\x",
    "schema": "dataharbour",
}


def test_the_connection_becomes_a_conninfo(connection):
    connection("dataharbour_db", **FIELDS)
    found = conninfo_to_dict(DataHarbourDatabaseHook().conninfo())
    assert found == {
        "host": "db.example",
        "port": "5433",
        "user": "dataharbour",
        "password": "p w'\\x",
        "dbname": "dataharbour",
    }


def test_triggers_get_the_same_without_blocking(connection):
    connection("dataharbour_db", **FIELDS)
    hook = DataHarbourDatabaseHook()
    assert asyncio.run(hook.aconninfo()) == hook.conninfo()


def test_triggers_get_it_under_dags_test(monkeypatch):
    """Airflow's supervisor is there a class that can be asked, and not awaited."""

    class Comms(InProcessSupervisorComms):
        def send(self, msg):
            fields = {"conn_type": "postgres", "host": "of dags test", "schema": "x"}
            known = dict.fromkeys(("login", "password", "port", "extra"))
            return ConnectionResult(conn_id=msg.conn_id, **fields, **known)

    comms = Comms(supervisor=None)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
    found = conninfo_to_dict(asyncio.run(DataHarbourDatabaseHook("elsewhere").aconninfo()))
    assert found["host"] == "of dags test"


def test_only_extras_of_the_list_are_read(connection):
    extra = {
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ca.pem",
        "options": "-c search_path=evil",
        "service": "other",
        "host": "elsewhere",
    }
    connection("dataharbour_db", **FIELDS, extra=extra)
    found = conninfo_to_dict(DataHarbourDatabaseHook().conninfo())
    assert found["sslmode"] == "verify-full"
    assert found["sslrootcert"] == "/etc/ca.pem"
    assert found["host"] == "db.example"
    assert not {"options", "service"} & found.keys()


@pytest.mark.parametrize("missing", ["host", "schema"])
def test_an_incomplete_connection_is_refused_with_the_place_to_change_it(connection, missing):
    connection("dataharbour_db", **{**FIELDS, missing: None})
    with pytest.raises(ConfigError, match="'dataharbour_db' has no") as caught:
        DataHarbourDatabaseHook().conninfo()
    assert "Admin > Connections > dataharbour_db" in caught.value.remedy


def test_no_error_shows_the_password(connection):
    connection("dataharbour_db", **{**FIELDS, "host": "127.0.0.1", "port": 1})
    with pytest.raises(Unavailable) as caught:
        DataHarbourDatabaseHook().get_conn()
    assert "p w" not in str(caught.value)


def test_it_connects(connection, database):
    parts = conninfo_to_dict(make_conninfo(database))
    connection(
        "dataharbour_db",
        conn_type="postgres",
        host=parts["host"],
        port=int(parts["port"]),
        login=parts["user"],
        schema=parts["dbname"],
    )
    hook = DataHarbourDatabaseHook()
    with hook.get_conn() as open_connection:
        assert open_connection.execute("select current_database()").fetchone() == (parts["dbname"],)
    assert hook.run_store(actor="test").list(limit=1).items == []
