"""The JVM of the backend `local`: its flags, and the archive that it takes Spark's classes from."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from dataharbour.jobs.backends.class_archive import ClassArchive
from dataharbour.jobs.model import Detail

pytestmark = pytest.mark.spark

# The JVM of the driver is the parent of its Python.
LOOK = """
    import os
    from pathlib import Path
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.getOrCreate()
    print("rows", spark.range(1000).selectExpr("sum(id)").first()[0])
    flags = Path(f"/proc/{os.getppid()}/cmdline").read_text().split("\\0")
    print("flags", [flag for flag in flags if flag.startswith("-XX:")])
    beans = spark._jvm.java.lang.management.ManagementFactory.getGarbageCollectorMXBeans()
    print("collectors", [bean.getName() for bean in beans])
    mapped = Path(f"/proc/{os.getppid()}/maps").read_text()
    print("archive", "spark-classes" in mapped)
"""


def told(site, run) -> dict[str, str]:
    lines = site.output(run, "stdout")
    return dict(line.split(" ", 1) for line in lines)


@pytest.fixture
def on_local(on_local, tmp_path):
    """An installation that puts a jar before Spark's own, as the platform does for S3."""
    import zipfile

    (on_local.settings.home / "cache" / "spark-classes" / "off").unlink()
    (tmp_path / "jars").mkdir()
    with zipfile.ZipFile(tmp_path / "jars" / "more.jar", "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
    defaults = tmp_path / "spark.conf"
    defaults.write_text(f"spark.driver.extraClassPath {tmp_path}/jars/*\n")
    return replace(on_local, settings=replace(on_local.settings, spark_defaults=defaults))


def test_a_profile_tunes_the_jvm_and_an_archive_serves_both(on_local):
    first = on_local.start(LOOK)
    assert on_local.end(first).observed is Detail.SUCCEEDED, on_local.output(first)
    assert "TieredStopAtLevel=1" in told(on_local, first)["flags"]
    assert told(on_local, first)["archive"] == "False"

    archive = archive_of(on_local)
    deadline = time.monotonic() + 300
    while archive.is_wanted():  # it is made beside the first run
        assert time.monotonic() < deadline, Path(archive.folder, "training.log").read_text()
        time.sleep(0.5)
    assert archive.path.exists(), Path(archive.folder, "training.log").read_text()
    assert archive.path.stat().st_size < 300 * 2**20

    for profile in ("short", "standard"):
        run = on_local.start(LOOK, profile=profile)
        assert on_local.end(run).observed is Detail.SUCCEEDED, on_local.output(run)
        found = told(on_local, run)
        assert found["archive"] == "True", "the JVM has mapped it"
        assert ("TieredStopAtLevel=1" in found["flags"]) is (profile == "short")
        assert ("+UseSerialGC" in found["flags"]) is (profile == "short")
        if profile == "short":
            assert "Copy" in found["collectors"], "the serial collector works"
        said = " ".join(on_local.output(run))
        assert "cds" not in said
        assert "shared class path" not in said, "no word of the archive"


def archive_of(site) -> ClassArchive:
    import pyspark

    archive = ClassArchive.of(
        site.settings.home,
        java_home=site.settings.java_home,
        spark_home=Path(pyspark.__file__).parent,
        defaults=site.settings.spark_defaults,
    )
    assert archive is not None
    return archive
