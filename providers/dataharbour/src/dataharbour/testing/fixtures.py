"""Pytest fixtures for tests that run jobs as DAGs: import them in a conftest.py.

Needs the fixtures `database` and `driver_database` (conninfos of a migrated
database), and `own_airflow` called before Airflow is imported.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from dataharbour.db.engine import Connect, connector
from dataharbour.errors import Conflict
from dataharbour.jobs.backends.names import BackendName
from dataharbour.jobs.states import terminal
from dataharbour.jobs.store import RunStore
from dataharbour.testing.plain_backend import PlainBackend


@dataclass(frozen=True)
class Installation:
    """A DataHarbour in a temporary folder: settings, jobs, applications, a lake of files."""

    root: Path
    connect: Connect

    def store(self, actor: str = "test") -> RunStore:
        """The runs of this installation; events name `actor` for the changes."""
        return RunStore(self.connect, actor=actor)

    def stop_drivers(self) -> None:
        """Cancel what still runs, and wait for its end."""
        store = self.store()
        active = [run for run in store.list(limit=1000).items if not terminal(run.detail)]
        for run in active:
            with suppress(Conflict):  # it is being published: no driver is left
                store.cancel(run.id, now=datetime.now(UTC))
        for run in active:
            if run.attempt:
                store.wait(run.id, timeout_s=10)

    @property
    def lake(self) -> Path:
        """The folder that is the lake."""
        return self.root / "lake"

    def application(self, source: str, *, name: str = "app.py") -> str:
        """Write an application; its name."""
        (self.root / "applications" / name).write_text(textwrap.dedent(source))
        return name

    def job(self, name: str, **fields: Any) -> None:
        """Declare a job on the backend `local` (plain Python here)."""
        values = {"description": f"The job {name}.", "application": "app.py", "backend": "local"}
        self.include("jobs", name, {**values, **fields})

    def include(self, folder: str, name: str, document: Mapping[str, Any]) -> None:
        """Write a YAML file of the include folder."""
        path = self.root / "include" / folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(dict(document)))

    def sales_suite(self, *, at_most: int) -> str:
        """Declare the expectations of the table gold/sales (`runs.sales_request`); their name."""
        rule = {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "amount", "min_value": 0, "max_value": at_most},
        }
        table = {"gold/sales": {"keys": ["amount"], "expectations": [rule]}}
        document = {"name": "sales", "description": "What sales are.", "tables": table}
        self.include("expectations", "sales", document)
        return "sales"


@pytest.fixture
def installation(
    tmp_path: Path, database: str, driver_database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    """An installation whose backends run plain Python through the real driver bootstrap."""
    for folder in ("applications", "lake", "include/jobs", "include/expectations", "home"):
        (tmp_path / folder).mkdir(parents=True)
    dsn = tmp_path / "home" / "driver.dsn"
    dsn.write_text(driver_database)
    settings = {
        "HOME": tmp_path / "home",
        "INCLUDE_DIR": tmp_path / "include",
        "APPLICATIONS": tmp_path / "applications",
        "LAKE": (tmp_path / "lake").as_uri(),
        "DRIVER_DSN_FILE": dsn,
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"AIRFLOW__DATAHARBOUR__{name}", str(value))
    monkeypatch.setenv("AIRFLOW_CONN_DATAHARBOUR_DB", _connection(database))
    from dataharbour.hooks.backends import MAKERS  # brings Airflow

    for name in BackendName:
        monkeypatch.setitem(MAKERS, name, PlainBackend)
    spark = {"conn_type": "spark_connect", "host": "127.0.0.1", "port": 1, "password": "token"}
    monkeypatch.setenv("AIRFLOW_CONN_DATAHARBOUR_SPARK_CONNECT", json.dumps(spark))
    made = Installation(tmp_path, connector(database))
    yield made
    made.stop_drivers()


def _connection(conninfo: str) -> str:
    parts = conninfo_to_dict(conninfo)
    return json.dumps(
        {
            "conn_type": "postgres",
            "host": parts["host"],
            "port": int(parts["port"] or 5432),
            "login": parts["user"],
            "password": parts.get("password"),
            "schema": parts["dbname"],
        }
    )
