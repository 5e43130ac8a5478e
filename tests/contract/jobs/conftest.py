"""A real Spark Connect server, a real standalone cluster, and runs on the real backends."""

from __future__ import annotations

import base64
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
import psycopg
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
from dataharbour.platform.accounts import python_for
from dataharbour.platform.java import ensure_java
from dataharbour.platform.spark import SparkFiles
from dataharbour.platform.spark_cluster import Cluster
from dataharbour.settings import Settings

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

ENDLESS = """
    from pyspark.sql import SparkSession, functions as F
    spark = SparkSession.builder.getOrCreate()
    print("session", flush=True)
    spark.range(10**15).select(F.sum(F.hash("id"))).collect()
"""


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


@pytest.fixture(scope="session")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory, java_home: Path) -> Iterator[Cluster]:
    """A standalone master and a worker, as `up --cluster` starts them: all doors closed."""
    root = tmp_path_factory.mktemp("cluster") / "spark"
    files = SparkFiles(root, (os.getuid(), os.getgid()), "http://127.0.0.1:1", java_home)
    files.write(lake="file:///")
    cluster = Cluster(
        files,
        {
            name: _free_port()
            for name in (
                "spark_master",
                "spark_rest",
                "spark_master_ui",
                "spark_worker_ui",
                "spark_history",
            )
        },
        key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        secret=secrets.token_urlsafe(24),
        cores=4,
        memory_mb=4096,
    )
    cluster.write()
    started = []
    try:
        for name, (command, environment), waiting_for in (
            ("master", cluster.master_command(), cluster.master_waiting_for),
            (
                "worker",
                cluster.worker_command(s3_keys=None, python=python_for(None)),
                cluster.worker_waiting_for,
            ),
        ):
            log = root / f"{name}.log"
            with log.open("wb") as stream:
                process = subprocess.Popen(
                    command,
                    cwd=files.work_dir,
                    env={"PATH": os.environ["PATH"], **environment},
                    stdout=stream,
                    stderr=stream,
                )
            started.append(process)
            deadline = time.monotonic() + 120
            while (problem := waiting_for()) is not None:
                text = log.read_text(errors="replace")[-3_000:]
                assert time.monotonic() < deadline, f"{problem}\n{text}"
                assert process.poll() is None, text
                time.sleep(0.2)
        yield cluster
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(20)


@dataclass
class Site:
    """Starts runs of small applications on a backend, and looks at them."""

    store: RunStore
    settings: Settings
    database: str
    driver_conninfo: str
    backend: Backend

    def start(self, source: str, *args: str, **request: Any) -> Run:
        return self.submit(self.open(source, *args, **request))

    def open(self, source: str, *args: str, **request: Any) -> LaunchContext:
        """A run with an attempt that nobody has submitted yet."""
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
        return LaunchContext(
            grant=grant,
            request=wanted,
            application=application,
            principal=run.principal,
            settings=self.settings,
            driver_conninfo=self.driver_conninfo,
            lake=LakeEndpoint(self.settings.lake),
        )

    def submit(self, context: LaunchContext) -> Run:
        external_id = self.backend.submit(context)
        self.store.submitted(context.grant.attempt_id, external_id=external_id, now=NOW)
        return self.store.get(context.grant.run_id)

    def end(self, run: Run, timeout_s: float = 90) -> AttemptState:
        state = self.store.wait(run.id, timeout_s=timeout_s)
        assert state.ended, f"{state}\n{self.output(run)}"
        return state

    def stop_all(self) -> None:
        """Cancel what a test has left."""
        for run in self.store.list(limit=100).items:
            if run.ended_at is None:
                self.store.cancel(run.id, now=NOW)

    def expire_lease(self, run: Run) -> None:
        """What time would do."""
        with psycopg.connect(self.database) as admin:
            admin.execute("update attempt set lease_until = clock_timestamp() where run_id = %s",
                          [run.id])  # fmt: skip

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
        classes = settings.home / "cache" / "spark-classes"
        classes.mkdir(parents=True)
        (classes / "off").touch()  # each test has a home of its own; test_profiles makes one
        store = RunStore(connector(database))
        return Site(store, settings, database, driver_database, backend)

    return make


@pytest.fixture
def on_connect(make_site: Callable[..., Site], connect_server: ConnectEndpoint) -> Site:
    return make_site(ConnectBackend(lambda: connect_server))


@pytest.fixture
def on_local(make_site: Callable[..., Site]) -> Site:
    return make_site(LocalBackend())


def until(condition: Callable[[], Any], seconds: float) -> None:
    """Wait for what shall happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def processes_below(folder: Path) -> list[str]:
    """The processes that work in a folder: pid and command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            where = str((entry / "cwd").readlink())
            if where.startswith(str(folder)) and state not in "ZX":
                command = (entry / "cmdline").read_text().replace("\0", " ")
                found.append(f"{entry.name} {command}")
        except OSError:
            continue
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
