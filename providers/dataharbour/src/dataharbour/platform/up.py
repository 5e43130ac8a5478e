"""Start the platform: everything that is missing is made, everything that is down is started."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from dataharbour.db.migrate import migrate
from dataharbour.errors import DataHarbourError, PlatformError, Unavailable
from dataharbour.platform import (
    airflow_config,
    assemble,
    connect_state,
    credentials,
    down,
    jupyter,
    launch,
    object_store,
    ports,
    preflight,
    sample_data,
    spark,
)
from dataharbour.platform.airflow_api import AirflowApi
from dataharbour.platform.bootstrap.checks import insist
from dataharbour.platform.connect_pair import Pair
from dataharbour.platform.layout import Checkout, Home
from dataharbour.platform.lock import exclusive
from dataharbour.platform.names import AIRFLOW_COMPONENTS, CLUSTER
from dataharbour.platform.report import Report
from dataharbour.platform.services import Platform
from dataharbour.platform.steps import Step, Stopped, run_all
from dataharbour.platform.supervise import Supervisor
from dataharbour.postgres import cluster
from dataharbour.storage.address import folder_address
from dataharbour.storage.open import open_store
from dataharbour.storage.store import ObjectStore

_START_TIMEOUT_S = 180.0
_USUAL_START_S = 20.0  # until then, what keeps a service waiting is no news
_OF_THE_CLUSTER = (
    "spark_master", "spark_rest", "spark_master_ui", "spark_worker_ui", "spark_history",
)  # fmt: skip
_NOT_OUR_TURN = "Another platform is being started on this machine; waiting until it has its ports."
_LIVES = 2  # a service that was started again this often does not come up by itself


def up(
    checkout: Checkout,
    home: Home,
    report: Report,
    *,
    with_cluster: bool | None = None,
    notebooks: bool | None = None,
) -> Platform:
    """Bring the platform up, healing what an interrupted start or a kill left behind.

    Args:
        checkout: whose platform.
        home: its state folder.
        report: told how it goes.
        with_cluster: with a standalone Spark cluster, or without; None: as the last time.
        notebooks: with JupyterLab, or without; None: as the last time.

    Raises:
        PlatformError: it could not; the message has the reason and the remedy.
    """
    fresh = not cluster.is_complete(home.data / "postgres")
    with_notebooks = jupyter.is_chosen(home) if notebooks is None else notebooks
    insist(preflight.run(checkout, home, fresh=fresh, notebooks=with_notebooks))
    with exclusive(home), ports.turn(on_wait=lambda: report.say(_NOT_OUR_TURN)):
        assemble.make_folders(home)
        jupyter.remember(home, wanted=with_notebooks)
        supervisor = Supervisor(home)
        was_up = supervisor.is_alive()
        if not was_up:
            down.sweep(home, report)
        taken: dict[str, int] = {}
        if was_up:
            chosen = assemble.known_ports(home)
        else:
            chosen, taken = assemble.choose_ports(home)
            connect_state.save(home, Pair())
        has_cluster = assemble.keep_cluster(home, with_cluster)
        for name, port in taken.items():
            if name in _OF_THE_CLUSTER and not has_cluster:
                continue
            if name == "notebooks" and not jupyter.is_chosen(home):
                continue
            report.say(f"Port {port} is taken; {name} uses {chosen[name]}.")
        lake = _lake(checkout, home, report)
        platform = assemble.assemble(
            checkout,
            home,
            chosen,
            lake=lake,
            has_cluster=has_cluster,
            notebooks=with_notebooks,
        )
        start = _Start(platform, supervisor, report)
        try:
            start.write_configuration()
            run_all(start.steps(), report, stop=start.stop)
        except DataHarbourError:
            if not was_up:  # the next start chooses free ports anew; what is in the stores stays
                down.stop_all(home, report)
            raise
    return platform


def _lake(checkout: Checkout, home: Home, report: Report) -> str:
    """Where the lake is, decided once, at the first start.

    In the object store when Spark's S3 jars can be had, else a folder: a lake that moved by itself
    would look empty.
    """
    decision = home.config / "lake"
    decided = decision.read_text() if decision.exists() else None
    folder = folder_address(home.data / "lake")  # not kept: the state folder may be moved
    if decided == "folder":
        report.say(f"The lake is the folder {folder} (the S3 jars were missing at first).")
        return folder
    try:
        spark.ensure_jars(
            checkout.include / "spark" / "jars.lock",
            home.spark / "jars",
            on_progress=lambda text: report.waiting("jars", text),
        )
    except Unavailable as error:
        if decided:
            raise
        report.say(f"{error.problem}\n  The lake is the folder {folder} instead of S3.")
        credentials.write_private(decision, "folder")
        return folder
    credentials.write_private(decision, "s3a://lake")
    return "s3a://lake"


class _Start:
    """The steps of one start, with what they share."""

    def __init__(self, platform: Platform, supervisor: Supervisor, report: Report) -> None:
        self.platform = platform
        self.plan = platform.plan
        self.home = platform.plan.home
        self.supervisor = supervisor
        self.report = report
        self.airflow = AirflowApi(self.plan.url, password=self.plan.credentials.users["admin"])
        self.stop = threading.Event()

    def write_configuration(self) -> None:
        """Render what the services read, and have the supervisor run with it."""
        secret, home = self.plan.credentials, self.home
        for store, identities in (
            (self.platform.store, secret.s3),
            (self.platform.vault, secret.vault),
        ):
            object_store.write_config(store, identities)
        cores = os.cpu_count() or 2
        credentials.write_private(
            home.airflow / "airflow.cfg",
            airflow_config.render(self.plan, parallelism=max(4, cores)),
        )
        credentials.write_private(
            home.secrets / "airflow_passwords.json", airflow_config.passwords(secret)
        )
        credentials.write_private(home.secrets / "driver.dsn", self._driver_conninfo())
        self.platform.spark.write(lake=self.plan.lake)
        if self.plan.lake.startswith("file://"):
            (home.data / "lake").mkdir(exist_ok=True, mode=0o700)
            os.chown(home.data / "lake", *self.platform.spark.owner)
        if self.platform.has_cluster:
            self.platform.spark_cluster.write()
        else:
            self.platform.spark_cluster.put_logs_away()
            self.supervisor.forget(CLUSTER)
        if self.plan.with_notebooks:
            self.platform.jupyter.write(
                port=self.plan.ports["notebooks"],
                token=secret.notebooks_token,
                welcome=self.plan.checkout.include / "notebooks" / "welcome.ipynb",
                connect_ports=self.platform.connect_ports,
            )
        changed = self.supervisor.configure(self.platform.services())
        if changed and self.supervisor.is_alive():
            self.report.say("The configuration has changed; ./harbour restart puts it into effect.")
        self.supervisor.ensure_running()
        self.supervisor.include("notebooks", wanted=self.plan.with_notebooks)

    def steps(self) -> list[Step]:
        """Everything that has to happen, and in which order."""
        return [
            Step("postgres", self._postgres),
            Step("object_store", self._store),
            Step("vault", self._vault),
            Step("spark", self._spark),
            *([Step("spark-cluster", self._cluster)] if self.platform.has_cluster else []),
            *([Step("notebooks", self._notebooks)] if self.plan.with_notebooks else []),
            Step("database", self._database, needs=("postgres",)),
            Step("airflow-db", self._airflow_database, needs=("postgres",)),
            Step("sample-data", self._sample_data, needs=("object_store",)),
            Step("airflow", self._airflow, needs=("airflow-db", "database", "object_store")),
            Step("connections", self._connections, needs=("airflow",)),
        ]

    def _postgres(self) -> str:
        database = self.platform.cluster
        if not cluster.is_complete(database.data):
            self.report.waiting("postgres", "making the cluster")
            marks = launch.marks(self.home.root, "initdb")
            launch.stop_all(list(launch.marked(str(self.home.root), service="initdb")), grace_s=5.0)
            cluster.initialise(database, environment=marks)
        self._start_and_wait("postgres", self.platform.waiting_for()["postgres"])
        secret = self.plan.credentials
        with psycopg.connect(database.conninfo(), autocommit=True) as connection:
            for name, password in (
                ("airflow", secret.postgres_airflow),
                ("dataharbour", secret.postgres_dataharbour),
            ):
                cluster.ensure_role(connection, name, password)
                cluster.ensure_database(connection, name, owner=name)
            connection.execute("ALTER ROLE dataharbour CREATEROLE")  # it owns the drivers' role
        return f"127.0.0.1:{database.port}"

    def _database(self) -> str:
        self.report.waiting("database", "bringing the schema up to date")
        migrate(database_conninfo(self.platform), self.plan.credentials.postgres_driver)
        return "schema up to date"

    def _airflow_database(self) -> str:
        stamp = self.home.airflow / "migrated"
        version = _airflow_version()
        if stamp.exists() and stamp.read_text() == version:
            return "schema up to date"
        self.report.waiting("airflow-db", "bringing Airflow's schema up to date")
        self._run([sys.executable, "-m", "airflow", "db", "migrate"], "airflow-db")
        stamp.write_text(version)
        return "schema up to date"

    def _store(self) -> str:
        store = self.platform.store
        self._start_and_wait("object_store", self.platform.waiting_for()["object_store"])
        keys = self.plan.credentials.s3["admin"]
        object_store.ensure_buckets(store, keys)
        self._wait("object_store", lambda: object_store.serves(store, keys), watched=())
        return f"{store.endpoint} (lake, logs)"

    def _vault(self) -> str:
        store = self.platform.vault
        self._start_and_wait("vault", self.platform.waiting_for()["vault"])
        keys = self.plan.credentials.vault["vault_admin"]
        object_store.ensure_buckets(store, keys)
        self._wait("vault", lambda: object_store.serves(store, keys), watched=())
        return f"{store.endpoint} (vault)"

    def _spark(self) -> str:
        server = connect_state.load(self.home).current
        port = connect_state.port_of(self.plan.ports, server)
        token = self.plan.credentials.spark_connect_token
        self._start_and_wait(server, lambda: spark.connect_waiting_for(port, token))
        return f"sc://localhost:{port}"

    def _cluster(self) -> str:
        cluster = self.platform.spark_cluster
        self._start_and_wait("spark_master", cluster.master_waiting_for)
        self._start_and_wait("spark_worker", cluster.worker_waiting_for)
        self._start_and_wait("spark_history", cluster.history_waiting_for)
        return f"{cluster.endpoint.master} ({cluster.cores} cores, {cluster.memory_mb} MB)"

    def _notebooks(self) -> str:
        self._start_and_wait("notebooks", self.platform.waiting_for()["notebooks"])
        return self.plan.notebooks_url

    def _sample_data(self) -> str:
        self.report.waiting("sample-data", "copying the New York flights of 2013 into the lake")
        return sample_data.land(lake_storage(self.platform))

    def _airflow(self) -> str:
        for name in AIRFLOW_COMPONENTS:
            self.supervisor.start(name)
        self._wait("airflow", self.airflow.health, watched=AIRFLOW_COMPONENTS)
        self.airflow.warm_execution()
        return self.plan.url

    def _connections(self) -> str:
        has_cluster = self.platform.has_cluster
        cluster = self.platform.spark_cluster.endpoint if has_cluster else None
        server = None
        while server != (current := connect_state.load(self.home).current):
            server = current  # the keeper may change it meanwhile
            wanted = airflow_config.connections(self.plan, spark=server, cluster=cluster)
            self.airflow.ensure_connections(wanted)
        self._start_and_wait("spark_keeper", self._keeper_waiting_for)
        self.airflow.ensure_pools(airflow_config.pools(os.cpu_count() or 2))
        return f"{len(wanted)} connections, 3 pools"

    def _keeper_waiting_for(self) -> str | None:
        states = {state.name: state.state for state in self.supervisor.states()}
        keeper = states.get("spark_keeper")
        return None if keeper == "running" else f"it is {keeper}"

    def _start_and_wait(self, name: str, waiting_for: Callable[[], str | None]) -> None:
        self.supervisor.start(name)
        self._wait(name, waiting_for, watched=(name,))

    def _wait(
        self, name: str, waiting_for: Callable[[], str | None], *, watched: tuple[str, ...]
    ) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        lives: dict[str, set[int]] = {service: set() for service in watched}
        began = time.monotonic()
        while (reason := waiting_for()) is not None:
            is_slow = time.monotonic() - began > _USUAL_START_S
            self.report.waiting(name, f"starting; {reason}" if is_slow else "starting")
            for state in self.supervisor.states():
                if state.name in lives and state.pid:
                    lives[state.name].add(state.pid)
            dying = [service for service, pids in lives.items() if len(pids) > _LIVES]
            if dying or time.monotonic() > deadline:
                raise start_failure(self.home, dying[0] if dying else name, reason)
            if self.stop.wait(0.1):
                raise Stopped

    def _run(self, command: list[str], name: str) -> None:
        log = self.home.logs / f"{name}.log"
        with log.open("w") as stream:
            done = subprocess.run(
                command,
                cwd=self.home.airflow,
                env=self.platform.airflow_environment() | launch.marks(self.home.root, name),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise start_failure(self.home, name, f"exit code {done.returncode}")

    def _driver_conninfo(self) -> str:
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1",
            port=self.plan.ports["postgres"],
            user="harbour_driver",
            password=self.plan.credentials.postgres_driver,
            dbname="dataharbour",
        )


def lake_storage(platform: Platform) -> ObjectStore:
    """The lake, for reading and writing objects."""
    access_key, secret_key = platform.plan.credentials.s3["spark"]
    return open_store(
        platform.plan.lake,
        endpoint_url=platform.store.endpoint,
        access_key=access_key,
        secret_key=secret_key,
        region=object_store.REGION,
    )


def database_conninfo(platform: Platform) -> str:
    """How the platform's own role connects to the database `dataharbour`."""
    return psycopg.conninfo.make_conninfo(
        host="127.0.0.1",
        port=platform.plan.ports["postgres"],
        user="dataharbour",
        password=platform.plan.credentials.postgres_dataharbour,
        dbname="dataharbour",
    )


def start_failure(home: Home, name: str, reason: str) -> PlatformError:
    """Why `name` did not start, with the end of its log."""
    log = home.logs / f"{name}.log"
    tail = "\n".join(f"  | {line}" for line in _tail(log, 15))
    return PlatformError(
        f"{name} did not start: {reason}\n{tail}",
        f"The whole log: {log}. Mend the cause and run ./harbour up again; it goes on from here.",
    )


def _tail(file: Path, lines: int) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return ["(no log yet)"]


def _airflow_version() -> str:
    from importlib.metadata import distributions

    parts = sorted(
        f"{d.name}=={d.version}" for d in distributions() if d.name.startswith("apache-airflow")
    )
    return "\n".join(parts)
