"""Hooks ask Airflow for connections: here an Airflow of its own, connections by environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataharbour.testing.airflow_home import own_airflow

own_airflow(Path(__file__).parents[3] / "dags")

SetConnection = Callable[..., None]


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> SetConnection:
    """Sets an Airflow connection by its id and fields."""

    def set_connection(conn_id: str, **fields: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return set_connection
