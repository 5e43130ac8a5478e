"""What is told of Spark servers: what they said just now, or that it is unknown and why."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.jobs.backends.launch import ConnectEndpoint
from dataharbour.jobs.backends.master import ClusterEndpoint
from dataharbour.jobs.clusters import Cluster, connect, look_at, read_master, standalone

WORKER = {
    "id": "worker-1", "host": "127.0.0.1", "port": 35459, "cores": 3, "coresused": 2,
    "memory": 3000, "memoryused": 1280, "state": "ALIVE",
}  # fmt: skip
APP = {"id": "app-1", "starttime": 1795570484449, "name": "pay", "cores": 1, "state": "RUNNING"}
DRIVER = {
    "id": "driver-1", "starttime": "1795570484449", "state": "RUNNING", "cores": 1, "memory": 768,
}  # fmt: skip
PAGE = {"workers": [WORKER], "activeapps": [APP], "activedrivers": [DRIVER], "status": "ALIVE"}


def of_page(**changes) -> Cluster:
    return read_master(PAGE | changes, address="spark://m:7077")


def test_a_master_tells_what_it_has_and_what_runs():
    cluster = of_page()
    assert (cluster.state, cluster.reason) == ("healthy", None)
    assert (cluster.cores, cluster.cores_used) == (3, 2)
    assert (cluster.memory_mb, cluster.memory_used_mb) == (3000, 1280)
    assert cluster.applications[0].since.isoformat() == "2026-11-25T01:34:44.449000+00:00"
    assert cluster.drivers[0].memory_mb == 768


def test_a_dead_worker_gives_nothing():
    cluster = of_page(workers=[WORKER, WORKER | {"id": "worker-2", "state": "DEAD"}])
    assert len(cluster.workers) == 2
    assert cluster.cores == 3


def test_a_cluster_without_workers_or_with_a_master_in_recovery_is_degraded():
    assert of_page(workers=[]).state == "degraded"
    assert of_page(workers=[]).cores == 0
    assert of_page(status="RECOVERING").reason == "The master is RECOVERING."


def test_names_of_applications_are_not_told():
    assert "pay" not in repr(of_page())


def test_what_does_not_answer_in_time_is_unknown_and_holds_up_nobody():
    started = time.monotonic()
    looks = {"connect": lambda: time.sleep(5), "standalone": of_page}
    slow, quick = look_at(looks, within_s=0.3)
    assert time.monotonic() - started < 2
    assert (slow.state, slow.reason) == ("unknown", "It did not answer within 0.3 s.")
    assert quick.state == "healthy"


def test_what_cannot_be_asked_or_understood_is_unknown_with_the_reason():
    def fail() -> Cluster:
        raise Unavailable("The database is away.", "Wait.")

    def another() -> Cluster:
        return read_master({"status": "ALIVE"}, address="x")

    away, strange = look_at({"connect": fail, "standalone": another})
    assert (away.state, away.reason) == ("unknown", "The database is away.")
    assert strange.state == "unknown"
    assert "not understood" in strange.reason


def test_without_a_cluster_it_is_off():
    def none() -> ClusterEndpoint:
        raise ConfigError("The backend standalone has no cluster.", "harbour up --cluster")

    assert standalone(none)().state == "off"


def test_a_dead_master_is_unknown():
    gone = ClusterEndpoint("spark://m:7077", ("http://127.0.0.1:1",), ui_url="http://127.0.0.1:1")
    cluster = standalone(lambda: gone)()
    assert cluster.state == "unknown"
    assert "127.0.0.1:1" in cluster.reason
    assert cluster.cores is None


@pytest.fixture
def page() -> Iterator[str]:
    """A Connect server's page, as far as it is asked."""
    answers = {
        "/api/v1/applications": [{"id": "local-1", "name": "dataharbour"}],
        "/api/v1/applications/local-1/jobs?status=running": [{"jobId": 1}, {"jobId": 2}],
        "/api/v1/version": {"spark": "4.3.0"},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path)
            self.send_response(200 if found is not None else 404)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_connect_server_tells_its_version_and_what_it_works_on(page):
    cluster = connect(lambda: ConnectEndpoint("localhost", 15002, "token", page + "/"))()
    assert (cluster.state, cluster.address) == ("healthy", "sc://localhost:15002")
    assert (cluster.version, cluster.running_jobs, cluster.cores) == ("4.3.0", 2, None)


@pytest.mark.parametrize("ui_url", [None, "http://127.0.0.1:1"])
def test_a_connect_server_without_a_page_is_unknown(ui_url):
    cluster = connect(lambda: ConnectEndpoint("localhost", 15002, "token", ui_url))()
    assert (cluster.state, cluster.running_jobs) == ("unknown", None)
    assert cluster.reason


def test_something_else_at_that_address_is_unknown(page):
    cluster = connect(lambda: ConnectEndpoint("localhost", 1, "token", page + "/else"))()
    assert (cluster.state, cluster.running_jobs) == ("unknown", None)
    assert "it answers 404" in cluster.reason
