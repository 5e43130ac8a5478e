"""Choose a backend by a Spark connection, as the provider's `SparkSubmitOperator` chose a master.

The connection names a kind of place. A backend works on the cluster of its own
connection (`CONNECTION_OF`), so the two must mean the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from dataharbour.errors import ConfigError
from dataharbour.jobs.backends.names import PROVIDER_CONN_ID, BackendName

if TYPE_CHECKING:
    from airflow.sdk import Connection


# The connections that the backends are made from, by backend.
CONNECTION_OF: Mapping[str, str] = {
    "connect": "dataharbour_spark_connect",
    "standalone": "dataharbour_spark",
    "yarn": "dataharbour_yarn",
    "k8s": "dataharbour_k8s",
}
_BACKEND_OF = {"spark": "standalone", "k8s": "k8s", "sc": "connect"}
_CONNECT_PORT = 15002


@dataclass(frozen=True, slots=True)
class Place:
    """Where an application shall run, and the settings that come with the place."""

    backend: str
    conf: Mapping[str, str] = field(default_factory=dict)


def place_of_connection(conn_id: str) -> Place:
    """The backend that a connection means.

    A missing ``spark_default`` means ``local``: nobody has said that there is a cluster.

    Raises:
        ConfigError: there is no such connection, no backend works there, or the
            backend's own connection means another cluster.
    """
    conn = _connection(conn_id)
    if conn is None:
        if conn_id == PROVIDER_CONN_ID:
            return Place("local")
        raise ConfigError(
            f"There is no connection {conn_id!r}.",
            "Create it (Admin > Connections), or choose with the argument backend.",
        )
    master = master_of(conn)
    place = place_of_master(master)
    own_id = CONNECTION_OF.get(place.backend)
    if own_id not in (None, conn_id):
        own = _connection(own_id)
        if own is None or master_of(own) != master:
            there = "is not set" if own is None else f"is {master_of(own)}"
            raise ConfigError(
                f"Connection {conn_id!r} is {master}, where the backend {place.backend} works by "
                f"the connection {own_id!r}, which {there}.",
                f"Give {own_id} the same host and port, or choose with the argument backend.",
            )
    return place


def place_of_master(master: str) -> Place:
    """The backend for a master.

    Raises:
        ConfigError: no backend works there.
    """
    scheme = master.partition("://")[0]
    if scheme.startswith("local"):
        cores = scheme.removeprefix("local").strip("[]").partition(",")[0]
        return Place("local", {"spark.driver.cores": cores} if cores.isdigit() else {})
    backend = "yarn" if scheme == "yarn" else _BACKEND_OF.get(scheme)
    if backend not in set(BackendName):
        raise ConfigError(
            f"No backend works on the master {master!r}.",
            "Known are local, yarn, spark://…, k8s://… and Spark Connect (sc://…).",
        )
    return Place(str(backend))


def master_of(conn: Connection) -> str:
    """The master of a connection, by the rule of the provider's `SparkSubmitHook`."""
    host = conn.host or ""
    if "spark_connect" in conn.conn_type:
        name = host.removeprefix("sc://")
        return f"sc://{name}" if ":" in name else f"sc://{name}:{conn.port or _CONNECT_PORT}"
    kind = "spark" if conn.conn_type == "dataharbour_spark_standalone" else conn.conn_type
    if kind == "spark" and host and ("://" in host or not conn.port):
        master = host
    else:
        master = f"{kind}://{host}"
    return f"{master}:{conn.port}" if conn.port else master


def _connection(conn_id: str) -> Connection | None:
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None
