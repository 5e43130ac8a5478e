"""What `up --cluster` starts: a standalone master, a worker, and the history server.

Their files, command lines, and whether they answer. `write` and `put_logs_away` do I/O below
Spark's folder; the rest decides, or asks. All doors are on loopback and closed: the REST gateway
and all pages want a signed request (JWSFilter), the RPC ports the cluster's secret
(spark.authenticate). Key and secret stand in files that Spark's account alone reads, and in no
command line. Drivers run as that account too: whoever may run a job on the cluster is trusted with
the cluster, and with the event logs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dataharbour.errors import DataHarbourError
from dataharbour.jobs import event_logs
from dataharbour.jobs.backends.master import ClusterEndpoint, Master
from dataharbour.jobs.driver import bundle
from dataharbour.jobs.spark_history import SparkHistory
from dataharbour.platform import spark_settings
from dataharbour.platform.connect_limits import machine_bytes
from dataharbour.platform.ports import LOOPBACK
from dataharbour.platform.spark import SparkFiles, spark_home

_FILTER = "org.apache.spark.ui.JWSFilter"
_LOOK_TIMEOUT_S = 2.0
_DAEMON_HEAP = "256m"
_HISTORY_HEAP = "512m"  # it takes what the applications need that somebody looks at
_LEAST_WORKER_MB = 1536  # a driver and an executor as the backend starts them, and a little


@dataclass(frozen=True, slots=True)
class Cluster:
    """One master, one worker, one history server.

    Attributes:
        files: Spark's folder; the cluster's own is ``cluster`` in it.
        ports: `spark_master`, `spark_rest`, `spark_master_ui`, `spark_worker_ui`, `spark_history`.
        key: what REST requests and pages want signed (base64url of 32 bytes).
        secret: of spark.authenticate.
        cores: that the worker offers.
        memory_mb: that the worker offers.
    """

    files: SparkFiles
    ports: Mapping[str, int]
    key: str = field(repr=False)
    secret: str = field(repr=False)
    cores: int = field(default_factory=lambda: (os.cpu_count() or 2) + 1)
    memory_mb: int = field(default_factory=lambda: _half_of_the_memory_mb())

    @property
    def folder(self) -> Path:
        """What belongs to the cluster."""
        return self.files.root / "cluster"

    @property
    def conf(self) -> Path:
        """The settings of what the worker starts."""
        return self.folder / "conf"

    @property
    def entry(self) -> Path:
        """The drivers' entry point, where Spark's account can read it."""
        return self.files.root / "driver" / bundle.ENTRY

    @property
    def events(self) -> Path:
        """The event logs; only there while the platform has a cluster."""
        return self.files.root / "events"

    @property
    def endpoint(self) -> ClusterEndpoint:
        """How its clients reach it."""
        return ClusterEndpoint(
            master=f"spark://{LOOPBACK}:{self.ports['spark_master']}",
            rest_urls=(f"http://{LOOPBACK}:{self.ports['spark_rest']}",),
            ui_url=f"http://{LOOPBACK}:{self.ports['spark_master_ui']}",
            history_url=f"http://{LOOPBACK}:{self.ports['spark_history']}",
            key=self.key,
            driver_file=str(self.entry),
        )

    def write(self) -> None:
        """Make the folders, copy the drivers' entry point, render the properties files."""
        # Only below folders of our own: in one of Spark's account a name may have become a link.
        for folder in (self.folder, self.conf):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        if self._put_away.is_dir() and not self.events.exists():
            self._put_away.rename(self.events)
        for folder in (self.folder / "work", self.folder / "local", self.events):
            folder.mkdir(exist_ok=True, mode=0o700)
            folder.chmod(0o700)
            os.chown(folder, *self.files.owner)
        bundle.write(self.files.root / "driver")
        for name, options in (
            ("master", self._master_options()),
            ("worker", _WORKER | self._doors()),
            ("history", _HISTORY | self._history_options()),
        ):
            self._write_private(self.folder / f"{name}.conf", _lines(options))
        self._write_conf()

    def put_logs_away(self) -> None:
        """Without a history server no run shall write event logs; `write` fetches the old ones."""
        if self.events.is_dir() and not self._put_away.exists():
            self.events.rename(self._put_away)

    @property
    def _put_away(self) -> Path:
        return self.files.root / "events-put-away"

    def _write_conf(self) -> None:
        """What drivers and executors find in SPARK_CONF_DIR.

        A driver wants the cluster's secret in its settings; the environment, where executors look,
        is not enough. What the worker launches the driver with reads no settings, only `java-opts`:
        without it the driver would not hear of the worker's death.
        """
        ours = event_logs.settings_of(self.events) | {"spark.authenticate.secret": self.secret}
        texts = {
            # Of a setting that comes twice the last one holds.
            "spark-defaults.conf": self.files.defaults.read_text() + _lines(ours),
            "java-opts": f'-Dspark.authenticate=true "-Djava.io.tmpdir={self.files.root}/tmp"\n',
            "log4j2.properties": spark_settings.LOG4J2,
        }
        for name, text in texts.items():
            self._write_private(self.conf / name, text)

    def master_command(self) -> tuple[list[str], dict[str, str]]:
        """The master's command line (foreground) and environment."""
        return (
            [
                *self._java(),
                "org.apache.spark.deploy.master.Master",
                "--host", LOOPBACK,
                "--port", str(self.ports["spark_master"]),
                "--webui-port", str(self.ports["spark_master_ui"]),
                "--properties-file", str(self.folder / "master.conf"),
            ],
            self._environment() | self._rpc_secret(),
        )  # fmt: skip

    def worker_command(
        self, *, s3_keys: tuple[str, str] | None, python: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """The worker's command line and environment; drivers and executors inherit the latter.

        Args:
            s3_keys: of the lake; None for a lake that is a folder.
            python: the variables by which Spark finds Python.
        """
        keys = {} if s3_keys is None else {
            "AWS_ACCESS_KEY_ID": s3_keys[0],
            "AWS_SECRET_ACCESS_KEY": s3_keys[1],
            "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        return (
            [
                *self._java(),
                "org.apache.spark.deploy.worker.Worker",
                "--host", LOOPBACK,
                "--cores", str(self.cores),
                "--memory", f"{self.memory_mb}m",
                "--webui-port", str(self.ports["spark_worker_ui"]),
                "--work-dir", str(self.folder / "work"),
                "--properties-file", str(self.folder / "worker.conf"),
                self.endpoint.master,
            ],
            {
                **self._environment(),
                **self._rpc_secret(),
                "SPARK_CONF_DIR": str(self.conf),
                "SPARK_DIST_CLASSPATH": f"{self.files.jars}/*",
                "SPARK_SCALA_VERSION": _scala_version(),
                **keys,
                **python,
            },
        )  # fmt: skip

    def history_command(self) -> tuple[list[str], dict[str, str]]:
        """The history server's command line and environment."""
        return (
            [
                *self._java(heap=_HISTORY_HEAP),
                "org.apache.spark.deploy.history.HistoryServer",
                "--properties-file", str(self.folder / "history.conf"),
            ],
            self._environment(),
        )  # fmt: skip

    def master_waiting_for(self) -> str | None:
        """None when the master answers, to us, else the reason."""
        return _problem(lambda master: master.state("driver-none"), self.endpoint)

    def worker_waiting_for(self) -> str | None:
        """None when the master has a living worker, else the reason."""

        def look(master: Master) -> str | None:
            alive = [w for w in master.page().get("workers", ()) if w.get("state") == "ALIVE"]
            return None if alive else "the worker has not registered yet"

        return _problem(look, self.endpoint)

    def history_waiting_for(self) -> str | None:
        """None when the history server answers, to us, else the reason."""
        try:
            answer = SparkHistory(self.endpoint, timeout_s=_LOOK_TIMEOUT_S).get("api/v1/version")
        except DataHarbourError as error:
            return error.problem
        return None if answer.status == 200 else f"it answers {answer.status}"

    def _master_options(self) -> dict[str, str]:
        return self._doors() | {
            "spark.master.rest.enabled": "true",
            "spark.master.rest.host": LOOPBACK,
            "spark.master.rest.port": str(self.ports["spark_rest"]),
            "spark.master.rest.filters": _FILTER,
            "spark.deploy.retainedDrivers": "200",
            "spark.deploy.retainedApplications": "200",
            "spark.ui.killEnabled": "false",
        }

    def _history_options(self) -> dict[str, str]:
        return self._closed_pages() | {
            "spark.history.fs.logDirectory": str(self.events),
            "spark.history.ui.port": str(self.ports["spark_history"]),
        }

    def _doors(self) -> dict[str, str]:
        return self._closed_pages() | {"spark.authenticate": "true"}

    def _closed_pages(self) -> dict[str, str]:
        return {
            "spark.ui.filters": _FILTER,
            f"spark.{_FILTER}.param.secretKey": self.key,
            f"spark.{_FILTER}.param.requireExpiration": "true",
        }

    def _java(self, *, heap: str = _DAEMON_HEAP) -> list[str]:
        api = next((spark_home() / "jars").glob("slf4j-api-*.jar"))
        logging = (self.files.root / "conf" / "log4j2.properties").as_uri()
        return [
            str(self.files.java_home / "bin" / "java"),
            "-cp", os.pathsep.join((str(api), f"{spark_home()}/jars/*")),
            f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:-UsePerfData",
            *spark_settings.MODULES,
            f"-Dlog4j2.configurationFile={logging}",
            f"-Djava.io.tmpdir={self.files.root}/tmp",
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {
            "JAVA_HOME": str(self.files.java_home),
            "HOME": str(self.files.work_dir),
            "TMPDIR": f"{self.files.root}/tmp",
            "SPARK_HOME": str(spark_home()),
            "SPARK_LOCAL_IP": LOOPBACK,
            "SPARK_LOCAL_DIRS": str(self.folder / "local"),
        }

    def _rpc_secret(self) -> dict[str, str]:
        return {"_SPARK_AUTH_SECRET": self.secret}

    def _write_private(self, file: Path, text: str) -> None:
        """Replace `file`, readable by Spark's account alone, never half-written."""
        draft = file.with_name(f".{file.name}.new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            os.fchown(descriptor, *self.files.owner)
            stream.write(text)
        draft.replace(file)


_WORKER = {
    # The folders of drivers that are over; their logs are in the database.
    "spark.worker.cleanup.enabled": "true",
    "spark.worker.cleanup.interval": "3600",
    "spark.worker.cleanup.appDataTtl": str(3 * 24 * 3600),
    "spark.worker.ui.retainedDrivers": "200",
}


_HISTORY = {
    "spark.history.fs.cleaner.enabled": "true",
    "spark.history.fs.cleaner.interval": "6h",
    "spark.history.fs.cleaner.maxAge": "14d",
    "spark.history.retainedApplications": "5",  # in memory, of those that somebody looked at
    # Logs are written by jobs: what stands in them shall not become script in a reader's browser.
    "spark.ui.contentSecurityPolicy.enabled": "true",
    "spark.ui.killEnabled": "false",
}


def _lines(options: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in sorted(options.items()))


def _problem(look: Callable[[Master], str | None], endpoint: ClusterEndpoint) -> str | None:
    try:
        found = look(Master(endpoint, timeout_s=_LOOK_TIMEOUT_S))
    except DataHarbourError as error:
        return error.problem
    return found


def _scala_version() -> str:
    """The worker asks for it when it makes a command line; Spark's scripts would say it."""
    core = next((spark_home() / "jars").glob("spark-core_*.jar"))
    return core.name.removeprefix("spark-core_").partition("-")[0]


def _half_of_the_memory_mb() -> int:
    return max(_LEAST_WORKER_MB, min(machine_bytes() // 2**21, 16_384))
