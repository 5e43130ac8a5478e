"""Turn the connection ``dataharbour_spark_connect`` into the address of the Connect server."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.providers.apache.spark.hooks.spark_connect import SparkConnectHook

from dataharbour.errors import ConfigError

if TYPE_CHECKING:
    from dataharbour.jobs.backends.launch import ConnectEndpoint

DEFAULT_PORT = 15002  # Spark's own


class DataHarbourSparkConnectHook(SparkConnectHook):
    """Gives the address of the warm Spark Connect server, and its token beside it.

    The provider's `get_connection_url` puts the token into the URL, which is
    shown in process lists and errors.

    Args:
        conn_id: an Airflow connection of type ``spark_connect``: host, port,
            password (the token). Of its extras only `ui_url` is read: where the
            server's own pages are.
    """

    default_conn_name = "dataharbour_spark_connect"
    conn_type = "dataharbour_spark_connect"  # a form of its own; the plain type works as well
    hook_name = "DataHarbour Spark Connect"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__(conn_id)

    def endpoint(self) -> ConnectEndpoint:
        """The server's host, port and token.

        Raises:
            ConfigError: the connection names no host.
        """
        from dataharbour.jobs.backends.launch import ConnectEndpoint

        conn = self.get_connection(self._conn_id)
        host = conn.host or ""
        parts = urlsplit(host if "://" in host else f"sc://{host}")
        if not parts.hostname:
            raise ConfigError(
                f"Connection {self._conn_id!r} has no host.",
                f"Admin > Connections > {self._conn_id}: set host, port and password (the token).",
            )
        return ConnectEndpoint(
            host=_client_host(parts.hostname),
            port=conn.port or parts.port or DEFAULT_PORT,
            token=conn.password or "",
            ui_url=conn.extra_dejson.get("ui_url"),
        )


def _client_host(host: str) -> str:
    """`host` as the client must see it.

    With a token and any host but the word ``localhost`` the client wants TLS,
    and against a server without it retries in silence for minutes (pyspark 4.3).
    A server on loopback has no TLS.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.is_loopback:
        return "localhost"
    return f"[{host}]" if address.version == 6 else host
