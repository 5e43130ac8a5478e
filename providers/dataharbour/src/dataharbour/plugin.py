"""Register DataHarbour with Airflow. Imported by every Airflow process, so it imports nothing.

The API is built where Airflow asks for it: in its API server.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin


class DataHarbourPlugin(AirflowPlugin):
    """What Airflow mounts and shows for us."""

    name = "dataharbour"

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
        )
        app = create_app(services)
        return [{"app": app, "url_prefix": "/dataharbour", "name": "DataHarbour API"}]
