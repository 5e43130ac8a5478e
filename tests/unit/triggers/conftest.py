"""Triggers run in this process: an Airflow of its own, a real database, real drivers."""

from __future__ import annotations

from pathlib import Path

from dataharbour.testing.airflow_home import own_airflow
from dataharbour.testing.fixtures import installation

own_airflow(Path(__file__).parents[3] / "dags")

__all__ = ["installation"]
