"""Spark's Connect server: its files, its command line, and whether it answers.

`SparkFiles.write` and `ensure_jars` do I/O below one folder; the rest decides. Nothing secret
stands in the properties file or in a command line: the token and the S3 keys go by environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dataharbour.errors import PlatformError
from dataharbour.platform import jars, spark_settings
from dataharbour.platform.connect_probe import connect_problem
from dataharbour.platform.maven import read_maven
from dataharbour.platform.object_store import REGION
from dataharbour.platform.ports import LOOPBACK


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
            "log4j2.properties": spark_settings.LOG4J2,
            "fairscheduler.xml": spark_settings.POOLS,
        }
        for name, text in texts.items():
            file = self.root / "conf" / name
            file.write_text(text)
            file.chmod(0o644)


def render_defaults(files: SparkFiles, *, lake: str) -> str:
    """Spark's properties; `lake` decides whether it needs S3."""
    options = dict(spark_settings.SHARED)
    if lake.startswith("s3a://"):
        options |= spark_settings.S3A | {
            "spark.driver.extraClassPath": f"{files.jars}/*",
            "spark.executor.extraClassPath": f"{files.jars}/*",
            "spark.hadoop.fs.s3a.endpoint": files.lake_endpoint,
            "spark.hadoop.fs.s3a.endpoint.region": REGION,
        }
    return "".join(f"{name} {value}\n" for name, value in sorted(options.items()))


def connect_command(
    files: SparkFiles,
    *,
    port: int,
    ui_port: int,
    heap_mb: int,
    token: str,
    s3_keys: tuple[str, str],
) -> tuple[list[str], dict[str, str]]:
    """The Connect server's command line (foreground) and environment.

    Java is started directly, not by `spark-submit`: that needs bash and a JVM of its own first.
    """
    home, conf_dir = spark_home(), files.root / "conf"
    api = next((home / "jars").glob("slf4j-api-*.jar"))  # first, as Spark's launcher puts it
    # Hadoop takes a path as it is, log4j an URI: where the path has a space they differ.
    conf = spark_settings.SERVER | {
        "spark.connect.grpc.binding.port": str(port),
        "spark.scheduler.allocation.file": f"file:{conf_dir}/fairscheduler.xml",
        "spark.sql.warehouse.dir": f"file:{files.work_dir}/warehouse",
        "spark.ui.port": str(ui_port),
    }
    command = [
        str(files.java_home / "bin" / "java"),
        "-cp", os.pathsep.join((f"{files.jars}/*", str(api), f"{home}/jars/*")),
        f"-Xmx{heap_mb}m", *spark_settings.JVM, *spark_settings.MODULES,
        f"-Dlog4j2.configurationFile={(conf_dir / 'log4j2.properties').as_uri()}",
        f"-Djava.io.tmpdir={files.root}/tmp",
        "org.apache.spark.deploy.SparkSubmit",
        "--class", "org.apache.spark.sql.connect.service.SparkConnectServer",
        "--name", "dataharbour",
        "--master", "local[*]",
        "--properties-file", str(files.defaults),
    ]  # fmt: skip
    for name, value in conf.items():
        command += ["--conf", f"{name}={value}"]
    environment = {
        "JAVA_HOME": str(files.java_home),
        "HOME": str(files.work_dir),
        "TMPDIR": f"{files.root}/tmp",
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": LOOPBACK,  # the page and the block manager bind to it
        "SPARK_LOCAL_DIRS": f"{files.root}/local",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": token,
        "AWS_ACCESS_KEY_ID": s3_keys[0],
        "AWS_SECRET_ACCESS_KEY": s3_keys[1],
        "AWS_EC2_METADATA_DISABLED": "true",
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


def ensure_jars(lock_file: Path, folder: Path, *, on_progress: Callable[[str], None]) -> None:
    """Fetch what is missing of the jars that s3a:// needs; other users may read them.

    Raises:
        Unavailable: no Maven repository gives them.
    """

    def tell(done_bytes: int, total_bytes: int) -> None:
        on_progress(f"Spark's S3 jars: {done_bytes / 1e6:.1f} of {total_bytes / 1e6:.1f} MB")

    locked = jars.read_lock(lock_file)
    if jars.missing(locked, folder):
        jars.fetch(locked, folder, source=read_maven(), on_progress=tell)
    else:
        jars.clear_strays(locked, folder)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)


def connect_waiting_for(port: int, token: str) -> str | None:
    """None when the server answers to our token, else the reason."""
    return connect_problem(LOOPBACK, port, token)
