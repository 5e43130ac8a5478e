"""Which services make up the platform, how each is started, and how one sees that it is ready.

Decides; the one thing it does is to ask services whether they are ready.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dataharbour.platform import connect_state, jupyter, object_store
from dataharbour.platform.accounts import Accounts, interpreter_for, python_for
from dataharbour.platform.connect_limits import heap_mb, machine_bytes
from dataharbour.platform.connect_pair import SERVERS
from dataharbour.platform.jupyter import JupyterFiles
from dataharbour.platform.names import AIRFLOW_COMPONENTS, CLUSTER
from dataharbour.platform.object_store import Store
from dataharbour.platform.plan import Plan
from dataharbour.platform.spark import SparkFiles, connect_command
from dataharbour.platform.spark_cluster import Cluster as SparkCluster
from dataharbour.platform.supervise import Service
from dataharbour.postgres.cluster import Account, Cluster, answers, server_command

POSTGRES_SETTINGS = {
    "shared_buffers": "128MB",
    "max_connections": "120",
    "wal_level": "replica",
    "summarize_wal": "on",
    "max_wal_size": "512MB",
    "jit": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


@dataclass(frozen=True, slots=True)
class Platform:
    """Everything that the services are made from."""

    plan: Plan
    accounts: Accounts
    spark: SparkFiles
    vault_data: Path
    has_cluster: bool = False

    @property
    def cluster(self) -> Cluster:
        """The PostgreSQL server."""
        return Cluster(
            data=self.plan.home.data / "postgres",
            port=self.plan.ports["postgres"],
            password=self.plan.credentials.postgres_superuser,
            account=self.accounts.postgres,
        )

    @property
    def store(self) -> Store:
        """The object store with the lake and the logs."""
        home = self.plan.home
        return Store(
            "s3", home.data / "object_store", home.config / "object_store", self.plan.ports
        )

    @property
    def vault(self) -> Store:
        """The store of the recovery points."""
        home = self.plan.home
        return Store("vault", self.vault_data, home.config / "vault", self.plan.ports)

    @property
    def jupyter(self) -> JupyterFiles:
        """JupyterLab's folders."""
        home = self.plan.home
        return JupyterFiles(home.jupyter, home.notebooks, owner_of(self.accounts.notebooks))

    @property
    def connect_ports(self) -> list[int]:
        """Of Spark's servers, the present one first."""
        return connect_state.ports_from(connect_state.load(self.plan.home), self.plan.ports)

    @property
    def spark_cluster(self) -> SparkCluster:
        """The standalone master and worker, and the history server."""
        secret = self.plan.credentials
        return SparkCluster(
            self.spark,
            self.plan.ports,
            key=secret.spark_cluster_key,
            secret=secret.spark_cluster_secret,
        )

    def services(self) -> list[Service]:
        """All services, in the order in which `status` shows them."""
        cluster = self._cluster() if self.has_cluster else []
        notebooks = [self._notebooks()] if self.plan.with_notebooks else []
        spark = [*self._spark(), *cluster]
        return [self._postgres(), *self._stores(), *spark, *notebooks, *self._airflow()]

    def airflow_environment(self) -> dict[str, str]:
        """What every Airflow process is started with."""
        home = self.plan.home
        return {
            **base_environment(),
            "AIRFLOW_HOME": str(home.airflow),
            "AIRFLOW_CONFIG": str(home.airflow / "airflow.cfg"),
            "HARBOUR_HOME": str(home.root),
            "JAVA_HOME": self.plan.java_home,
        }

    def waiting_for(self) -> dict[str, Callable[[], str | None]]:
        """Per service without Airflow's: None when it is ready, else the reason."""
        credentials = self.plan.credentials
        return {
            "postgres": lambda: answers(self.cluster),
            "object_store": lambda: object_store.answers(self.store, credentials.s3["admin"]),
            "notebooks": lambda: jupyter.problem(
                self.plan.ports["notebooks"], credentials.notebooks_token
            ),
            "vault": lambda: object_store.answers(self.vault, credentials.vault["vault_admin"]),
        }

    def _postgres(self) -> Service:
        return Service(
            name="postgres",
            command=server_command(self.cluster, POSTGRES_SETTINGS),
            environment={"LC_ALL": "C"},
            account=self.accounts.postgres,
            stop_signal="INT",  # fast shutdown: open transactions are rolled back
            stop_wait_s=60,
        )

    def _stores(self) -> list[Service]:
        return [
            Service(
                name=name,
                command=object_store.command(store),
                directory=store.config,
                environment=base_environment(),
                stop_wait_s=30,
            )
            for name, store in (("object_store", self.store), ("vault", self.vault))
        ]

    def _spark(self) -> list[Service]:
        home = self.plan.home
        keeper = Service(
            name="spark_keeper",
            command=[sys.executable, "-m", "dataharbour.platform.connect_keeper"],
            environment={**base_environment(), "HARBOUR_HOME": str(home.root)},
            directory=home.root,
            stop_wait_s=5,
        )
        return [*(self._spark_server(name) for name in SERVERS), keeper]

    def _spark_server(self, name: str) -> Service:
        plan = self.plan
        command, environment = connect_command(
            self.spark,
            port=connect_state.port_of(plan.ports, name),
            ui_port=connect_state.page_of(plan.ports, name),
            heap_mb=heap_mb(machine_bytes()),
            token=plan.credentials.spark_connect_token,
            s3_keys=plan.credentials.s3["spark"],
        )
        return Service(
            name=name,
            command=command,
            environment={
                **base_environment(),
                **environment,
                **python_for(self.accounts.spark),
            },
            directory=self.spark.work_dir,
            account=self.accounts.spark,
            stop_wait_s=20,
        )

    def _cluster(self) -> list[Service]:
        cluster = self.spark_cluster
        commands = (
            cluster.master_command(),
            cluster.worker_command(
                s3_keys=self.plan.credentials.s3["spark"]
                if self.plan.lake.startswith("s3a://")
                else None,
                python=python_for(self.accounts.spark),
            ),
            cluster.history_command(),
        )
        return [
            Service(
                name=name,
                command=command,
                environment={**base_environment(), **environment},
                directory=self.spark.work_dir,
                account=self.accounts.spark,
                stop_wait_s=20,
            )
            for name, (command, environment) in zip(CLUSTER, commands, strict=True)
        ]

    def _notebooks(self) -> Service:
        plan, files = self.plan, self.jupyter
        python, packages = interpreter_for(self.accounts.notebooks) or (Path(sys.executable), {})
        access_key, secret_key = plan.credentials.s3["spark"]
        kernels = jupyter.kernel_environment(
            connect_port=self.connect_ports[0],
            token=plan.credentials.spark_connect_token,
            lake=plan.lake,
            s3={
                "AWS_ENDPOINT_URL": self.store.endpoint,
                "AWS_ACCESS_KEY_ID": access_key,
                "AWS_SECRET_ACCESS_KEY": secret_key,
                "AWS_REGION": object_store.REGION,
                "AWS_DEFAULT_REGION": object_store.REGION,
            },
        )
        return Service(
            name="notebooks",
            command=jupyter.command(python),
            environment={
                **base_environment(),
                **packages,
                **jupyter.environment(files),
                **kernels,
            },
            directory=files.notebooks,
            account=self.accounts.notebooks,
            stop_wait_s=20,
        )

    def _airflow(self) -> list[Service]:
        python, environment = sys.executable, self.airflow_environment()
        launcher = str(Path(__file__).with_name("api_server.py"))
        commands: Mapping[str, list[str]] = {
            "api-server": [python, launcher],
            "scheduler": [python, "-m", "airflow", "scheduler", "--skip-serve-logs"],
            "dag-processor": [python, "-m", "airflow", "dag-processor"],
            "triggerer": [python, "-m", "airflow", "triggerer", "--skip-serve-logs"],
        }
        return [
            Service(
                name=name,
                command=commands[name],
                environment=environment,
                directory=self.plan.home.airflow,
                stop_wait_s=30,  # a task that does not end by then is taken up by its next try
            )
            for name in AIRFLOW_COMPONENTS
        ]


def base_environment() -> dict[str, str]:
    """A small, known environment; loopback never goes by a proxy."""
    programs = Path(sys.executable).parent
    return {
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "PYTHONUNBUFFERED": "1",
        "SPT_NOENV": "1",  # a process that sets its title must not overwrite the marks of `launch`
    }


def owner_of(account: Account | None) -> tuple[int, int]:
    """Uid and gid for files that a service with `account` must own."""
    return (account.uid, account.gid) if account else (os.getuid(), os.getgid())
