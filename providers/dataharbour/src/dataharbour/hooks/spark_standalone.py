"""Turn the connection ``dataharbour_spark`` into the address of a standalone cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.hook import BaseHook

from dataharbour.errors import ConfigError

if TYPE_CHECKING:
    from dataharbour.jobs.backends.master import ClusterEndpoint

_SCHEME = "spark://"
_MASTER_PORT, _REST_PORT = 7077, 6066  # Spark's own


class StandaloneHook(BaseHook):
    """Gives the master of a standalone cluster, its REST gateway and the key to it.

    Args:
        conn_id: an Airflow connection of type ``spark``: host (``spark://HOST``, or several
            ``spark://HOST:PORT,HOST:PORT``), port, password (the key of the master's JWSFilter,
            base64url). Of its extras only `rest_url` (one for each master, separated by commas),
            `ui_url`, `history_url` and `driver_file` are read.
    """

    conn_name_attr = "conn_id"
    default_conn_name = "dataharbour_spark"
    conn_type = "dataharbour_spark_standalone"  # a form of its own; the plain type works as well
    hook_name = "DataHarbour Spark standalone"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.conn_id = conn_id

    def get_conn(self) -> ClusterEndpoint:
        """`endpoint`, as Airflow calls it."""
        return self.endpoint()

    def endpoint(self) -> ClusterEndpoint:
        """The cluster.

        Raises:
            ConfigError: the connection names no standalone master.
        """
        return endpoint_of(self.get_connection(self.conn_id))


def endpoint_of(conn: Any) -> ClusterEndpoint:
    """The cluster that a connection names.

    Raises:
        ConfigError: it names no standalone master.
    """
    from dataharbour.jobs.backends.master import ClusterEndpoint

    host, extra = (conn.host or "").strip(), conn.extra_dejson
    if not host.startswith(_SCHEME):
        raise ConfigError(
            f"The backend standalone has no cluster: the connection {conn.conn_id!r} names "
            f"{host or 'nothing'!r}.",
            "harbour up --cluster starts one; or set the connection's host to spark://HOST, its "
            "port, and as password the key of the master's JWSFilter.",
        )
    masters = [_with_port(name, conn.port) for name in host.removeprefix(_SCHEME).split(",")]
    rest = extra.get("rest_url") or ",".join(
        f"http://{master.rpartition(':')[0]}:{_REST_PORT}" for master in masters
    )
    return ClusterEndpoint(
        master=_SCHEME + ",".join(masters),
        rest_urls=tuple(url.strip().rstrip("/") for url in rest.split(",") if url.strip()),
        ui_url=extra.get("ui_url") or None,
        history_url=extra.get("history_url") or None,
        key=conn.password or "",
        driver_file=extra.get("driver_file") or None,
    )


def _with_port(master: str, port: int | None) -> str:
    name = master.strip().rstrip("/")
    has_port = name.rpartition(":")[2].isdecimal() and ":" in name
    return name if has_port else f"{name}:{port or _MASTER_PORT}"
