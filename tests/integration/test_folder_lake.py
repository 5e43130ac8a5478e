"""Without Maven's repository: `up` says so, and the whole platform works on a lake of files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dataharbour.testing.running_platform import neutral_environment, run_harbour

pytestmark = pytest.mark.integration

UNREACHABLE = """
<settings><mirrors><mirror><id>closed</id><mirrorOf>*</mirrorOf>
<url>http://127.0.0.1:9/maven2</url></mirror></mirrors></settings>
"""
READ_BACK = """
import os
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print(spark.read.parquet(os.environ["HARBOUR_LAKE"] + "/silver/flights").count())
spark.stop()
"""


@pytest.fixture(scope="module")
def home():
    with tempfile.TemporaryDirectory(prefix="harbour ") as folder:  # with a space
        Path(folder).chmod(0o711)
        home = Path(folder) / "home"
        yield home
        run_harbour(home, "destroy", "--yes")


@pytest.fixture(scope="module")
def started(home, tmp_path_factory):
    """`up` with its first job, on a machine that reaches no Maven repository."""
    user = tmp_path_factory.mktemp("user")
    (user / ".m2").mkdir()
    (user / ".m2" / "settings.xml").write_text(UNREACHABLE)
    return run_harbour(home, "up", HOME=str(user))


@pytest.fixture(scope="module")
def environment(home, started):
    return json.loads(run_harbour(home, "env", "-o", "json").stdout)


def test_up_names_the_repository_and_the_folder_that_it_takes_instead(home, started):
    assert "http://127.0.0.1:9/maven2 cannot be reached" in started.stderr
    assert f"The lake is the folder file://{home / 'data' / 'lake'}" in started.stderr


def test_the_first_job_publishes_its_tables(home, started):
    assert "336,776" not in started.stdout  # the table has a row per carrier
    assert "UA       United Air Lines Inc.        58,665" in started.stdout
    table = pq.read_table(home / "data" / "lake" / "gold" / "delays_by_carrier")
    assert table.num_rows == 16
    assert sum(table["flights"].to_pylist()) == 336_776


def test_sparks_server_reads_what_a_task_has_published(environment):
    """Also where it runs as a user of its own."""
    done = subprocess.run(
        [sys.executable, "-c", READ_BACK],
        env=neutral_environment() | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "336776", done.stderr[-2000:]
