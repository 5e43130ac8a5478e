"""Links from a task of Airflow to the run that it carries out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

API = "/dataharbour/api/v1"


class RunLink(BaseOperatorLink):
    """The run as DataHarbour knows it: state, attempts, failure, result."""

    name = "Run"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The run's address, or nothing before the run exists."""
        return run_path(operator.run_id) if getattr(operator, "run_id", None) else ""


class RunLogLink(BaseOperatorLink):
    """What the driver of the run wrote, whole."""

    name = "Driver log"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The log's address, or nothing before the run exists."""
        return f"{run_path(operator.run_id)}/logs" if getattr(operator, "run_id", None) else ""


class SparkUiLink(BaseOperatorLink):
    """Spark's own pages on the driver, or on the server that it uses, while that is up.

    Airflow shows links of a task from the moment that it defers or ends.
    """

    name = "Spark UI"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Their address, or nothing where the backend has none."""
        return getattr(operator, "ui_url", None) or ""


class SparkHistoryLink(BaseOperatorLink):
    """Spark's pages of an application that is over."""

    name = "Spark history"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Their address, or nothing where the application left no event log."""
        page = getattr(operator, "history_page", None)
        return f"{run_path(operator.run_id)}/spark/{page}" if page else ""


def run_path(run_id: str) -> str:
    """Path of a run on Airflow's server.

    A path and no URL: people reach the server by names that it does not know
    (a tunnel, a proxy), and their browser completes it.
    """
    prefix = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    return f"{prefix}{API}/runs/{run_id}"
