"""Say how the platform is: its services, ports and address, as `harbour status` prints them."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from dataharbour.platform import connect_state, launch, ports
from dataharbour.platform.airflow_api import AirflowApi
from dataharbour.platform.connect_pair import SERVERS
from dataharbour.platform.layout import Home
from dataharbour.platform.names import SHOWN
from dataharbour.platform.ports import LOOPBACK
from dataharbour.platform.supervise import ServiceState, Supervisor

SECOND_SERVER = SERVERS[1]
_PORT_OF = {
    "postgres": "postgres",
    "object_store": "s3",
    "vault": "vault",
    **connect_state.PORTS,
    "spark_master": "spark_master",
    "spark_worker": "spark_worker_ui",
    "spark_history": "spark_history",
    "notebooks": "notebooks",
    "api-server": "api",
}
_FURTHER_PORTS = {  # what people and clients reach besides: by purpose, in words of `status`
    **{server: {"ui": page} for server, page in connect_state.PAGES.items()},
    "spark_master": {"rest": "spark_rest", "ui": "spark_master_ui"},
}


def status(home: Home) -> dict[str, Any]:
    """The platform's state: ``{home, version, ready, url, services: [...]}``.

    `ready` is true when every service runs, those with a port answer on it, and Airflow reports its
    components healthy. A platform that is down has no services; after a kill of its supervisor
    those that are left are `orphaned`.
    """
    chosen = ports.load(home.run / "ports.json")
    current = connect_state.load(home).current
    states = Supervisor(home).states() or _orphans(home)
    shown = [(name, s) for s in states if (name := _shown_as(s, current)) is not None]
    shown.sort(key=lambda pair: _place(pair[0]))
    rows = [_row(home, state, chosen, shown_as=name) for name, state in shown]
    url = f"http://{LOOPBACK}:{chosen['api']}" if rows and "api" in chosen else None
    lacks = ", ".join(
        f"{row['name']} is {row['state']}"
        for row in rows
        if row["state"] != "running" and row["name"] != SECOND_SERVER
    )
    if rows and url and not lacks:
        lacks = AirflowApi(url, password="").health() or ""
    return {
        "home": str(home.root),
        "version": version("airflow-provider-dataharbour"),
        "ready": bool(rows) and not lacks,
        "lacks": lacks,
        "url": url,
        "services": rows,
    }


def _shown_as(state: ServiceState, current: str) -> str | None:
    """A service's name; of the two Spark servers the one for new runs is `spark`.

    The other is `spark_standby` while it takes over or ends its runs, and nothing otherwise.
    """
    if state.name not in SERVERS or state.state == "orphaned":
        return state.name
    if state.name == current:
        return SERVERS[0]
    return SECOND_SERVER if state.pid is not None else None


def _orphans(home: Home) -> list[ServiceState]:
    first: dict[str, int] = {}
    for pid, name in sorted(launch.marked(str(home.root)).items()):
        first.setdefault(name or "process", pid)
    return [ServiceState(name, "orphaned", pid, None) for name, pid in first.items()]


def _place(name: str) -> tuple[int, str]:
    """The usual order; what is not known there, of another version, comes last."""
    return (SHOWN.index(name) if name in SHOWN else len(SHOWN), name)


def _row(
    home: Home, state: ServiceState, chosen: dict[str, int], *, shown_as: str
) -> dict[str, Any]:
    port = chosen.get(_PORT_OF.get(state.name, ""))
    word = state.state
    if word == "running" and port is not None and not ports.is_open(port):
        word = "starting"
    running = state.pid is not None
    since = datetime.fromtimestamp(state.since, UTC) if state.since and running else None
    return {
        "name": shown_as,
        "state": word,
        "pid": state.pid,
        "host": LOOPBACK if port else None,
        "port": port,
        "further_ports": {
            purpose: chosen[key]
            for purpose, key in _FURTHER_PORTS.get(state.name, {}).items()
            if key in chosen
        },
        "since": since.isoformat().replace("+00:00", "Z") if since else None,
        "log": str(home.logs / f"{state.name}.log"),
    }
