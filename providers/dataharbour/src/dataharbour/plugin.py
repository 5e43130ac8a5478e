"""Register DataHarbour with Airflow. Imported by every Airflow process, so it imports nothing.

The API is built where Airflow asks for it: in its API server.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

# What a task of ours imports before it can start a driver: 0.15 s of processor time.
OF_TASKS = (
    "dataharbour.dag_factory",
    "dataharbour.hooks.backends",
    "dataharbour.hooks.database",
    "dataharbour.hooks.lake",
    "dataharbour.jobs.execute",
    "dataharbour.jobs.follow",
    "dataharbour.operators.surroundings",
)


class SchedulerPreload:
    """Has a scheduler import what tasks need, before it forks the workers of its LocalExecutor."""

    @hookimpl
    def on_starting(self, component: object) -> None:  # noqa: ARG002 - the hook's signature
        """A component of Airflow starts; which one, only the command line tells by now."""
        if sys.argv[1:2] == ["scheduler"]:
            for module in OF_TASKS:
                with suppress(ImportError):  # whoever needs it will say so
                    import_module(module)


class DataHarbourPlugin(AirflowPlugin):
    """What Airflow mounts and shows for us."""

    name = "dataharbour"
    listeners = [SchedulerPreload()]  # noqa: RUF012 - as Airflow declares it

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The API, built on first use: only the API server reads this attribute."""
        from dataharbour import airflow_compat, settings
        from dataharbour.api.airflow_rest import AirflowRest
        from dataharbour.api.app import create_app
        from dataharbour.api.database import Database
        from dataharbour.api.services import Services

        services = Services(
            access=airflow_compat.AirflowAccess(),
            database=Database(airflow_compat.database_conninfo),
            airflow=AirflowRest(
                airflow_compat.base_url(), certificate=airflow_compat.server_certificate()
            ),
            load_settings=settings.load,
            queues=airflow_compat.AirflowQueues(),
            clusters=airflow_compat.clusters,
            cluster=airflow_compat.cluster,
        )
        app = create_app(services)
        return [{"app": app, "url_prefix": "/dataharbour", "name": "DataHarbour API"}]
