"""The JVM of the backend `local`: how a profile tunes it."""

from __future__ import annotations

import pytest

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
    print("flags", *[flag for flag in flags if flag.startswith("-XX:")])
"""


@pytest.mark.parametrize("profile", ["short", "standard"])
def test_a_profile_tunes_the_jvm(on_local, profile):
    run = on_local.start(LOOK, profile=profile)
    assert on_local.end(run).observed is Detail.SUCCEEDED, on_local.output(run)
    found = dict(line.split(" ", 1) for line in on_local.output(run, "stdout"))
    assert found["rows"] == "499500"
    assert ("-XX:TieredStopAtLevel=1" in found["flags"].split()) is (profile == "short")
    assert ("-XX:+UseSerialGC" in found["flags"].split()) is (profile == "short")
