"""What one embedded platform is made from: folders, ports, secrets, the lake, Java."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dataharbour.platform.credentials import Credentials
from dataharbour.platform.layout import Checkout, Home
from dataharbour.platform.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class Plan:
    """What the rendered files and the services depend on."""

    checkout: Checkout
    home: Home
    ports: Mapping[str, int]
    credentials: Credentials
    lake: str
    java_home: str
    with_notebooks: bool = False

    @property
    def url(self) -> str:
        """Airflow's address."""
        return f"http://{LOOPBACK}:{self.ports['api']}"

    @property
    def notebooks_url(self) -> str:
        """JupyterLab's address; empty where it is not chosen."""
        return f"http://{LOOPBACK}:{self.ports['notebooks']}" if self.with_notebooks else ""
