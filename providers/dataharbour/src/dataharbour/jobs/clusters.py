"""Ask the Spark servers what they have and what runs on them, within a deadline.

What does not answer is `unknown`, with the reason: no figure here is made up or remembered.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any
from urllib.parse import quote

from dataharbour.errors import ConfigError, DataHarbourError
from dataharbour.jobs.backends.http import ask, connection_to
from dataharbour.jobs.backends.launch import ConnectEndpoint
from dataharbour.jobs.backends.master import ClusterEndpoint, Master

WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of a standalone cluster, as its master sees it; sizes in MB."""

    id: str
    host: str
    state: str
    cores: int
    cores_used: int
    memory_mb: int
    memory_used_mb: int


@dataclass(frozen=True, slots=True)
class Work:
    """An application or a driver on a standalone cluster; `memory_mb` is a driver's alone."""

    id: str
    state: str
    cores: int
    since: datetime
    memory_mb: int | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Spark server at one moment; None: it does not tell.

    Attributes:
        name: the backend that uses it.
        state: ``healthy``, ``degraded``, ``unknown`` or ``off``.
        reason: why it is not healthy.
        running_jobs: Spark jobs (of all sessions) that a Connect server works on.
    """

    name: str
    state: str
    reason: str | None = None
    address: str | None = None
    version: str | None = None
    workers: tuple[Worker, ...] | None = None
    applications: tuple[Work, ...] | None = None
    drivers: tuple[Work, ...] | None = None
    running_jobs: int | None = None

    @property
    def cores(self) -> int | None:
        """Of all workers that live."""
        return self._sum(lambda worker: worker.cores)

    @property
    def cores_used(self) -> int | None:
        """Of all workers that live."""
        return self._sum(lambda worker: worker.cores_used)

    @property
    def memory_mb(self) -> int | None:
        """Of all workers that live."""
        return self._sum(lambda worker: worker.memory_mb)

    @property
    def memory_used_mb(self) -> int | None:
        """Of all workers that live."""
        return self._sum(lambda worker: worker.memory_used_mb)

    def _sum(self, of: Callable[[Worker], int]) -> int | None:
        if self.workers is None:
            return None
        return sum(of(worker) for worker in self.workers if worker.state == "ALIVE")


Look = Callable[[], Cluster]


def look_at(looks: Mapping[str, Look], *, within_s: float = WITHIN_S) -> list[Cluster]:
    """Ask all at once; one that takes longer is `unknown`.

    Args:
        looks: by name of the backend; each may raise.
        within_s: how long to wait for all of them.
    """
    found: SimpleQueue[Cluster] = SimpleQueue()
    for name, look in looks.items():
        threading.Thread(target=_look, args=(name, look, found), daemon=True).start()
    until, clusters = monotonic() + within_s, {}
    for _ in looks:
        try:
            cluster = found.get(timeout=max(until - monotonic(), 0.001))
        except Empty:
            break
        clusters[cluster.name] = cluster
    late = f"It did not answer within {within_s:g} s."
    return [clusters.get(name) or Cluster(name, "unknown", late) for name in looks]


def standalone(endpoint: Callable[[], ClusterEndpoint]) -> Look:
    """Looks at a standalone cluster through its master's page."""

    def look() -> Cluster:
        try:
            cluster = endpoint()
        except ConfigError as error:  # local[*]: there is none
            return Cluster("standalone", "off", error.problem)
        try:
            page = Master(cluster, timeout_s=WITHIN_S).page()
        except DataHarbourError as error:
            return Cluster("standalone", "unknown", error.problem, cluster.master)
        return read_master(page, address=cluster.master)

    return look


def connect(endpoint: Callable[[], ConnectEndpoint]) -> Look:
    """Looks at a Connect server through its page's REST."""

    def look() -> Cluster:
        server = endpoint()
        address = f"sc://{server.host}:{server.port}"
        if server.ui_url is None:
            reason = "The connection dataharbour_spark_connect has no extra ui_url to ask."
            return Cluster("connect", "unknown", reason, address)
        try:
            return _read_connect(server.ui_url.rstrip("/"), address)
        except (OSError, HTTPException, ValueError, KeyError, IndexError, TypeError) as error:
            reason = f"{server.ui_url}: {type(error).__name__} {error}".strip()
            return Cluster("connect", "unknown", reason, address)

    return look


def read_master(page: Mapping[str, Any], *, address: str) -> Cluster:
    """What a master's ``/json/`` says."""
    workers = tuple(
        Worker(
            id=worker["id"],
            host=worker["host"],
            state=worker["state"],
            cores=worker["cores"],
            cores_used=worker["coresused"],
            memory_mb=worker["memory"],
            memory_used_mb=worker["memoryused"],
        )
        for worker in page["workers"]
    )
    status = page["status"]
    has_worker = any(worker.state == "ALIVE" for worker in workers)
    reason = None if status == "ALIVE" else f"The master is {status}."
    if reason is None and not has_worker:
        reason = "No worker lives."
    return Cluster(
        name="standalone",
        state="healthy" if reason is None else "degraded",
        reason=reason,
        address=address,
        workers=workers,
        applications=tuple(_work(app) for app in page["activeapps"]),
        drivers=tuple(_work(d, memory_mb=d["memory"]) for d in page["activedrivers"]),
    )


def _work(entry: Mapping[str, Any], *, memory_mb: int | None = None) -> Work:
    """Without its name and user: whoever reads this may not be allowed to see that run."""
    since = datetime.fromtimestamp(int(entry["starttime"]) / 1000, UTC)
    return Work(entry["id"], entry["state"], entry["cores"], since, memory_mb)


def _read_connect(page: str, address: str) -> Cluster:
    application = _get(f"{page}/api/v1/applications")[0]["id"]
    jobs = _get(f"{page}/api/v1/applications/{quote(application)}/jobs?status=running")
    version = _get(f"{page}/api/v1/version")["spark"]
    return Cluster("connect", "healthy", None, address, version, running_jobs=len(jobs))


def _get(url: str) -> Any:
    with closing(connection_to(url, timeout_s=WITHIN_S)) as connection:
        status, text = ask(connection, url)
    if status != 200:
        raise ValueError(f"it answers {status}")
    return json.loads(text)


def _look(name: str, look: Look, found: SimpleQueue[Cluster]) -> None:
    try:
        found.put(look())
    except DataHarbourError as error:
        found.put(Cluster(name, "unknown", error.problem))
    except Exception as error:  # a page that changed its words
        found.put(Cluster(name, "unknown", f"Its answer was not understood: {error!r}"[:500]))
