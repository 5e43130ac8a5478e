"""Spark's Connect server: its files, its command line, and whether it answers.

`SparkFiles.write` and `ensure_jars` do I/O below one folder; the rest decides. Nothing secret
stands in the properties file or in a command line: the token and the S3 keys go by environment.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dataharbour.errors import PlatformError
from dataharbour.platform import jars
from dataharbour.platform.object_store import REGION
from dataharbour.platform.ports import LOOPBACK

CREDENTIALS = "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider"

_LOG4J2 = """\
rootLogger.level = warn
rootLogger.appenderRef.stdout.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSSX} %p %c{1}: %m%n%ex
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
"""

_POOLS = """\
<?xml version="1.0"?>
<allocations>
  <pool name="default"><schedulingMode>FAIR</schedulingMode></pool>
</allocations>
"""


@dataclass(frozen=True, slots=True)
class SparkFiles:
    """Spark's folder in the state folder.

    The server reads `conf` and `jars`, and writes in `work`, `local` and `tmp`, which belong to
    `owner`.

    Attributes:
        root: the folder.
        owner: uid and gid of the server.
        lake_endpoint: S3 address of the lake.
        java_home: the Java to use.
    """

    root: Path
    owner: tuple[int, int]
    lake_endpoint: str
    java_home: Path

    @property
    def jars(self) -> Path:
        """What Spark needs for s3a://."""
        return self.root / "jars"

    @property
    def defaults(self) -> Path:
        """Spark's properties file, for the server and for the backend `local`."""
        return self.root / "conf" / "spark-defaults.conf"

    @property
    def work_dir(self) -> Path:
        """Where the server runs."""
        return self.root / "work"

    def write(self, *, lake: str) -> None:
        """Make the folders and render the configuration."""
        self.root.mkdir(exist_ok=True)
        for name in ("conf", "jars"):
            (self.root / name).mkdir(exist_ok=True)
        for folder in (self.root, self.root / "conf", self.jars):
            folder.chmod(0o755)
        for name in ("work", "local", "tmp"):
            (self.root / name).mkdir(exist_ok=True)
            (self.root / name).chmod(0o700)
            os.chown(self.root / name, *self.owner)
        texts = {
            "spark-defaults.conf": render_defaults(self, lake=lake),
            "log4j2.properties": _LOG4J2,
            "fairscheduler.xml": _POOLS,
        }
        for name, text in texts.items():
            file = self.root / "conf" / name
            file.write_text(text)
            file.chmod(0o644)


def render_defaults(files: SparkFiles, *, lake: str) -> str:
    """Spark's properties; `lake` decides whether it needs S3."""
    options = {
        "spark.driver.bindAddress": LOOPBACK,
        "spark.driver.host": LOOPBACK,
        "spark.redaction.regex": "(?i)secret|password|token|access[._]?key|credential",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "4",
        "spark.ui.showConsoleProgress": "false",
    }
    if lake.startswith("s3a://"):
        options |= {
            "spark.driver.extraClassPath": f"{files.jars}/*",
            "spark.executor.extraClassPath": f"{files.jars}/*",
            "spark.hadoop.fs.s3a.aws.credentials.provider": CREDENTIALS,
            "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
            "spark.hadoop.fs.s3a.endpoint": files.lake_endpoint,
            "spark.hadoop.fs.s3a.endpoint.region": REGION,
            "spark.hadoop.fs.s3a.path.style.access": "true",
            # Output is staged under a path that no other attempt has, and published afterwards:
            # the committer need not be atomic, only quick.
            "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
            "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
        }
    return "".join(f"{name} {value}\n" for name, value in sorted(options.items()))


def connect_command(
    files: SparkFiles,
    *,
    port: int,
    ui_port: int,
    token: str,
    s3_keys: tuple[str, str],
) -> tuple[list[str], dict[str, str]]:
    """The Connect server's command line (foreground) and environment."""
    java_options = (
        f"-Dlog4j2.configurationFile=file:{files.root}/conf/log4j2.properties "
        f"-Djava.io.tmpdir={files.root}/tmp -Dderby.system.home={files.root}/work"
    )
    conf = {
        "spark.connect.grpc.binding.address": LOOPBACK,
        "spark.connect.grpc.binding.port": str(port),
        "spark.connect.grpc.port.maxRetries": "0",
        "spark.connect.session.manager.defaultSessionTimeout": "15m",
        "spark.connect.execute.manager.detachedTimeout": "60s",
        "spark.local.dir": f"{files.root}/local",
        "spark.scheduler.allocation.file": f"file:{files.root}/conf/fairscheduler.xml",
        "spark.scheduler.mode": "FAIR",
        "spark.sql.warehouse.dir": f"{files.root}/work/warehouse",
        "spark.ui.port": str(ui_port),
    }
    command = [
        str(spark_home() / "bin" / "spark-submit"),
        "--class", "org.apache.spark.sql.connect.service.SparkConnectServer",
        "--name", "dataharbour",
        "--master", "local[*]",
        "--driver-memory", "1g",
        "--driver-java-options", java_options,
        "--properties-file", str(files.defaults),
    ]  # fmt: skip
    for name, value in conf.items():
        command += ["--conf", f"{name}={value}"]
    environment = {
        "JAVA_HOME": str(files.java_home),
        "HOME": str(files.work_dir),
        "SPARK_HOME": str(spark_home()),
        "SPARK_LOCAL_IP": LOOPBACK,
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": token,
        "SPARK_LAUNCHER_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "AWS_ACCESS_KEY_ID": s3_keys[0],
        "AWS_SECRET_ACCESS_KEY": s3_keys[1],
    }
    return [*command, "spark-internal"], environment


def spark_home() -> Path:
    """Where pyspark is installed.

    Raises:
        PlatformError: it is not.
    """
    spec = find_spec("pyspark")  # found, not imported
    if spec is None or spec.origin is None:
        raise PlatformError("PySpark is not installed.", "Install pyspark==4.3.0.")
    return Path(spec.origin).resolve().parent


def ensure_jars(
    lock_file: Path,
    folder: Path,
    *,
    on_progress: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Fetch what is missing of the jars that s3a:// needs.

    Raises:
        Unavailable: no Maven repository gives them.
    """
    jars.ensure(
        jars.read_lock(lock_file.read_text()), folder, on_progress=on_progress, environ=environ
    )


def connect_waiting_for(port: int) -> str | None:
    """None when the server takes connections, else the reason."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=0.5):
            return None
    except OSError as error:
        return f"port {port}: {error.strerror or error}"
