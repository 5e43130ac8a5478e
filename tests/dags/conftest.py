"""The DAG files as Airflow parses them, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dataharbour.testing.airflow_home import own_airflow

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

ROOT = Path(__file__).parents[2]
own_airflow(ROOT / "dags")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Sets options of [dataharbour]; those of the checkout stand for what is not given."""

    def set_options(**changes: Path | str) -> None:
        options = {
            "home": tmp_path,
            "include_dir": ROOT / "include",
            "applications": ROOT / "spark_jobs",
            "lake": f"{tmp_path.as_uri()}/lake",
            **changes,
        }
        for name, value in options.items():
            monkeypatch.setenv(f"AIRFLOW__DATAHARBOUR__{name.upper()}", str(value))

    set_options()
    return set_options


@pytest.fixture
def parse(settings: Callable[..., None]) -> Callable[[], DagBag]:
    """Parses all DAG files anew."""
    from airflow.dag_processing.dagbag import DagBag

    return lambda: DagBag(ROOT / "dags")
