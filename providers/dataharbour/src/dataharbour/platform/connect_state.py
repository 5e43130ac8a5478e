"""Keep which of the two Connect servers is the current one, in a file of the state folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from dataharbour.platform.connect_pair import SERVERS, Pair, other
from dataharbour.platform.credentials import write_private
from dataharbour.platform.layout import Home
from dataharbour.platform.ports import PREFERRED

PORTS = {"spark": "spark_connect", "spark_standby": "spark_standby_connect"}
PAGES = {"spark": "spark_ui", "spark_standby": "spark_standby_ui"}


def load(home: Home) -> Pair:
    """What was kept last; the first server where nothing was."""
    try:
        pair = Pair(**json.loads((home.run / "spark_servers.json").read_text()))
    except (OSError, ValueError, TypeError):
        return Pair()
    return pair if pair.current in SERVERS else Pair()


def save(home: Home, pair: Pair) -> None:
    """Keep `pair`; the file is never half-written."""
    write_private(home.run / "spark_servers.json", json.dumps(asdict(pair)))


def port_of(ports: Mapping[str, int], server: str) -> int:
    """Where a server of the pair listens."""
    return ports.get(PORTS[server], PREFERRED[PORTS[server]])


def ports_from(pair: Pair, ports: Mapping[str, int]) -> list[int]:
    """Where both servers listen, the current one first."""
    return [port_of(ports, name) for name in (pair.current, other(pair.current))]


def page_of(ports: Mapping[str, int], server: str) -> int:
    """Where its pages are."""
    return ports.get(PAGES[server], PREFERRED[PAGES[server]])
