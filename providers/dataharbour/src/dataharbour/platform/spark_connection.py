"""The Airflow connection by which new runs find the Connect server. Decides values only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dataharbour.platform import connect_state
from dataharbour.platform.credentials import Credentials
from dataharbour.platform.ports import LOOPBACK


def spark_connection(server: str, ports: Mapping[str, int], secret: Credentials) -> dict[str, Any]:
    """The connection to one of the pair, as Airflow's REST API takes it."""
    page = connect_state.page_of(ports, server)
    return {
        "connection_id": "dataharbour_spark_connect",
        "conn_type": "spark_connect",
        "host": "localhost",  # not 127.0.0.1: a token with that makes the client try TLS
        "port": connect_state.port_of(ports, server),
        "password": secret.spark_connect_token,
        "extra": json.dumps({"use_ssl": False, "ui_url": f"http://{LOOPBACK}:{page}"}),
    }
