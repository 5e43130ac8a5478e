"""The peer: `spark-submit` from a shell, with nothing set but what it takes to reach the data."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from os import environ
from pathlib import Path

from bench_platform import ROOT, BenchPlatform

from dataharbour.platform.spark_settings import CREDENTIALS

FLIGHTS = ROOT / "spark_jobs" / "flights_delays.py"


def spark_submit(
    application: Path,
    *args: str,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run `application` with ``--master local[2]`` and wait for its end.

    Args:
        application: a Python file.
        args: its arguments.
        options: more of spark-submit's own.
        environment: more variables.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    import pyspark

    command = [f"{Path(pyspark.__file__).parent}/bin/spark-submit", "--master", "local[2]"]
    subprocess.run(
        [*command, *options, str(application), *args],
        env={**environ, "JAVA_HOME": java_home(), **(environment or {})},
        check=True,
        capture_output=True,
    )


def submit_flights() -> None:
    """The flights job on files; what an earlier run wrote is removed before."""
    raw, output = flights()
    shutil.rmtree(output, ignore_errors=True)
    spark_submit(FLIGHTS, "--raw", raw.as_uri(), "--output", output.as_uri())


def submit_flights_on_the_lake(platform: BenchPlatform) -> None:
    """The flights job on the platform's lake, by S3."""
    raw, output = "s3a://lake/raw/nycflights13", "s3a://lake/bare"
    settings = {
        "spark.driver.extraClassPath": f"{platform.home.spark}/jars/*",
        "spark.hadoop.fs.s3a.endpoint": platform.environment["AWS_ENDPOINT_URL"],
        "spark.hadoop.fs.s3a.endpoint.region": platform.environment["AWS_REGION"],
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.aws.credentials.provider": CREDENTIALS,
    }
    spark_submit(
        FLIGHTS, "--raw", raw, "--output", output,
        options=[part for pair in settings.items() for part in ("--conf", "=".join(pair))],
        environment={n: v for n, v in platform.environment.items() if n.startswith("AWS_")},
    )  # fmt: skip


def flights() -> tuple[Path, Path]:
    """The folders of the flights job's raw data, landed once, and of its output."""
    from dataharbour.platform import sample_data
    from dataharbour.storage.folder import FolderStore

    folder = Path(tempfile.gettempdir()) / "harbour-bench-flights"
    if not (folder / "raw").exists():
        folder.mkdir(exist_ok=True)
        sample_data.land(FolderStore(folder))
    return folder / "raw" / "nycflights13", folder / "out"


def java_home() -> str:
    """That of the Java which the platform uses."""
    from dataharbour.platform.java import find_java

    java = find_java()
    assert java is not None, "the platform has one"
    return str(java.home)
