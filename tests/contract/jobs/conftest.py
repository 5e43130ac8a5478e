"""A real Spark Connect server, and runs on the real backends."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from dataharbour.db.engine import connector
from dataharbour.jobs.applications import resolve_application
from dataharbour.jobs.backends.connect import ConnectBackend
from dataharbour.jobs.backends.launch import (
    Backend,
    ConnectEndpoint,
    LakeEndpoint,
    LaunchContext,
)
from dataharbour.jobs.backends.local import LocalBackend
from dataharbour.jobs.model import AttemptState, Run, RunRequest
from dataharbour.jobs.store import RunStore
from dataharbour.platform.java import ensure_java
from dataharbour.settings import Settings

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def java_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This machine's Java, else the packaged one."""
    return ensure_java(tmp_path_factory.mktemp("java"))


@dataclass(frozen=True)
class ConnectServer:
    """A running Connect server."""

    endpoint: ConnectEndpoint
    pid: int

    @property
    def page(self) -> str:
        """What it says of its sessions."""
        return httpx.get(f"{self.endpoint.ui_url}/connect/", timeout=30, trust_env=False).text


@pytest.fixture(scope="session")
def connect_server(connect_process: ConnectServer) -> ConnectEndpoint:
    """Where a Spark Connect server listens."""
    return connect_process.endpoint


@pytest.fixture(scope="session")
def connect_process(
    tmp_path_factory: pytest.TempPathFactory, java_home: Path
) -> Iterator[ConnectServer]:
    """A Spark Connect server with a token, in the foreground of its own process."""
    folder = tmp_path_factory.mktemp("connect")
    spec = find_spec("pyspark")
    assert spec is not None
    assert spec.origin is not None
    token, port, page = secrets.token_urlsafe(16), _free_port(), _free_port()
    flags = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    conf = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.connect.grpc.port.maxRetries": "0",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.port": str(page),
        "spark.connect.execute.manager.detachedTimeout": "20s",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": (folder / "warehouse").as_uri(),
    }
    command = [
        str(Path(spec.origin).parent / "bin" / "spark-submit"),
        "--class", "org.apache.spark.sql.connect.service.SparkConnectServer",
        "--master", "local[2]", "--driver-memory", "1g", "--driver-java-options", flags,
        *(part for key, value in conf.items() for part in ("--conf", f"{key}={value}")),
        "spark-internal",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LAUNCHER_OPTS": flags,
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": token,
        "PYSPARK_PYTHON": sys.executable,
        "JAVA_HOME": str(java_home),
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not _answers(port):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        endpoint = ConnectEndpoint("localhost", port, token, f"http://127.0.0.1:{page}")
        yield ConnectServer(endpoint, server.pid)
    finally:
        server.kill()
        server.wait()


@dataclass
class Site:
    """Starts runs of small applications on a backend, and looks at them."""

    store: RunStore
    settings: Settings
    driver_conninfo: str
    backend: Backend

    def start(self, source: str, *args: str, **request: Any) -> Run:
        (self.settings.applications[0] / "job.py").write_text(textwrap.dedent(source))
        application = resolve_application("job.py", self.settings.applications)
        wanted = RunRequest("job.py", args=args, backend=self.backend.name, **request)
        run = self.store.open_run(
            wanted,
            application_sha256=application.sha256,
            dag_id="spark_job",
            dag_run_id=secrets.token_hex(4),
            task_id="run",
            principal="ana@example.org",
            now=NOW,
        )
        grant = self.store.start_attempt(run.id, backend=self.backend.name, now=NOW)
        context = LaunchContext(
            grant=grant,
            request=wanted,
            application=application,
            principal=run.principal,
            settings=self.settings,
            driver_conninfo=self.driver_conninfo,
            lake=LakeEndpoint(self.settings.lake),
        )
        external_id = self.backend.submit(context)
        self.store.submitted(grant.attempt_id, external_id=external_id, now=NOW)
        return run

    def end(self, run: Run, timeout_s: float = 90) -> AttemptState:
        state = self.store.wait(run.id, timeout_s=timeout_s)
        assert state.ended, f"{state}\n{self.output(run)}"
        return state

    def output(self, run: Run, stream: str | None = None) -> list[str]:
        lines = self.store.logs(run.id, limit=10_000).items
        return [line.line for line in lines if stream in (None, line.stream)]


@pytest.fixture
def make_site(
    database: str, driver_database: str, tmp_path: Path, java_home: Path
) -> Callable[..., Site]:
    def make(backend: Backend) -> Site:
        applications = tmp_path / "applications"
        applications.mkdir()
        settings = Settings(
            home=tmp_path / "home",
            include_dir=tmp_path / "include",
            applications=(applications,),
            lake=(tmp_path / "lake").as_uri(),
            java_home=java_home,
            spark_defaults=None,
            driver_dsn_file=tmp_path / "driver.dsn",
        )
        return Site(RunStore(connector(database)), settings, driver_database, backend)

    return make


@pytest.fixture
def on_connect(make_site: Callable[..., Site], connect_server: ConnectEndpoint) -> Site:
    return make_site(ConnectBackend(lambda: connect_server))


@pytest.fixture
def on_local(make_site: Callable[..., Site]) -> Site:
    return make_site(LocalBackend())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
