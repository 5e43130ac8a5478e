"""Real Spark, both lanes: what a run does there, and how it is ended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from dataharbour.errors import ConfNotAllowed
from dataharbour.jobs.backends.connect import ConnectBackend
from dataharbour.jobs.backends.launch import ConnectEndpoint
from dataharbour.jobs.backends.local import LocalBackend
from dataharbour.jobs.model import Detail, FailureClass

pytestmark = pytest.mark.spark

WRITER = """
    import os, sys
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.appName("writer").getOrCreate()
    frame = spark.range(0, 1000, 1, 4)
    frame.write.parquet(sys.argv[1])
    print("rows", spark.read.parquet(sys.argv[1]).count())
    print("partitions", spark.conf.get("spark.sql.shuffle.partitions"))
    print("a warning", file=sys.stderr)
    print("secrets", sorted(n for n in os.environ if n.startswith(("PG", "AIRFLOW", "AWS"))))
"""
ROOT_CAUSES = """
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.getOrCreate()
    spark.read.parquet("file:///nowhere/at/all").count()
"""
ENDLESS = """
    from pyspark.sql import SparkSession, functions as F
    spark = SparkSession.builder.getOrCreate()
    print("session", flush=True)
    spark.range(10**15).select(F.sum(F.hash("id"))).collect()
"""


def until(condition, seconds: float):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_connect_runs_an_application_with_its_settings(on_connect, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    target = tmp_path / "lake" / "t"
    run = on_connect.start(WRITER, target.as_uri(), conf={"spark.sql.shuffle.partitions": "7"})
    state = on_connect.end(run)
    lines = on_connect.output(run, "stdout")
    assert state.observed is Detail.SUCCEEDED, on_connect.output(run)
    assert lines == ["rows 1000", "partitions 7", "secrets []"]
    assert on_connect.output(run, "stderr") == ["a warning"]
    progress = on_connect.store.get(run.id).progress
    assert progress["stages"] >= progress["stages_done"] >= 1
    assert progress["tasks"] >= progress["tasks_done"] >= 1


def test_connect_names_the_root_cause(on_connect):
    state = on_connect.end(on_connect.start(ROOT_CAUSES))
    assert state.failure.failure_class is FailureClass.USER_ERROR
    first = state.failure.message.splitlines()[0]
    assert first.startswith("PATH_NOT_FOUND (42K03): Path does not exist: file:/nowhere")


def test_connect_names_the_error_inside_a_python_function(on_connect):
    state = on_connect.end(
        on_connect.start(
            "connect",
            """
            from pyspark.sql import SparkSession, functions as F
            spark = SparkSession.builder.getOrCreate()
            divide = F.udf(lambda x: 1 // (x - 3), "long")
            spark.range(10).select(divide("id")).collect()
            """,
        )
    )
    assert state.failure.message.splitlines()[0].startswith("ZeroDivisionError: ")


def test_cancelling_ends_the_query_on_the_server_too(on_connect, connect_server):
    run = on_connect.start(ENDLESS)
    until(lambda: "session" in on_connect.output(run), 30)
    time.sleep(1)
    asked = time.monotonic()
    on_connect.store.cancel(run.id, now=run.created_at)
    state = on_connect.end(run)
    assert state.observed is Detail.CANCELLED
    assert time.monotonic() - asked < 15
    # The server is free again: both cores answer at once.
    after = on_connect.start(
        "connect",
        "from pyspark.sql import SparkSession\n"
        "print(SparkSession.builder.getOrCreate().range(9).count())",
    )
    assert on_connect.end(after, timeout_s=20).observed is Detail.SUCCEEDED


def test_a_killed_application_leaves_no_query_on_the_server(on_connect):
    run = on_connect.start(
        "connect",
        ENDLESS.replace(
            "flush=True)",
            "flush=True); import os, threading, time\n"
            "    threading.Timer(2, os.kill, [os.getpid(), 9]).start()",
        ),
    )
    state = on_connect.end(run)
    assert state.exit_code == 137
    # `interrupt` found the query; the supervisor's own log tells.
    folder = on_connect.settings.home / "runs" / str(state.attempt_id)
    assert "interrupted 1 operation(s)" in (folder / "supervisor.log").read_text()


def test_a_server_that_is_away_is_told_at_once(make_site):
    site = make_site(ConnectBackend(lambda: ConnectEndpoint("localhost", 1, "token"), patience_s=0))
    started = time.monotonic()
    state = site.end(site.start(WRITER))
    assert time.monotonic() - started < 15
    assert state.failure.failure_class is FailureClass.INFRA
    assert state.failure.message.startswith("No Spark Connect server answers at localhost:1")


def test_a_wrong_token_is_told_at_once(make_site, connect_server):
    site = make_site(
        ConnectBackend(lambda: ConnectEndpoint("localhost", connect_server.port, "wrong-token"))
    )
    state = site.end(site.start(ROOT_CAUSES), timeout_s=30)
    assert state.failure.failure_class is FailureClass.INFRA
    assert "UNAUTHENTICATED" in state.failure.message
    assert "wrong-token" not in "\n".join([state.failure.message, *site.output(run_of(site))])


def run_of(site):
    return site.store.list(limit=1).items[0]


def test_local_runs_the_same_application(make_site, tmp_path):
    site = make_site(LocalBackend())
    target = tmp_path / "lake" / "t"
    run = site.start(WRITER, target.as_uri(),
        conf={"spark.sql.shuffle.partitions": "7", "spark.driver.memory": "600m"},
    )  # fmt: skip
    state = site.end(run)
    assert state.observed is Detail.SUCCEEDED, site.output(run)
    assert site.output(run, "stdout") == ["rows 1000", "partitions 7", "secrets []"]
    assert "a warning" in site.output(run, "stderr"), "told apart, though spark-submit mixes them"
    assert site.store.get(run.id).progress["stages"] >= 1
    assert "ERROR" not in "\n".join(site.output(run))


def test_local_dies_with_its_supervisor(make_site):
    site = make_site(LocalBackend())
    run = site.start(ENDLESS)
    until(lambda: "session" in site.output(run), 60)
    external_id = site.store.wait(run.id, timeout_s=0).external_id
    supervisor = int(external_id.split(":")[1])
    folder = site.settings.home / "runs"
    assert len(processes_below(folder)) >= 2, "the JVM and its Python"
    assert site.backend.is_alive(external_id)
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not processes_below(folder), 10)
    assert not site.backend.is_alive(external_id)


def processes_below(folder: Path) -> list[str]:
    """The processes that work in an attempt's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if str(folder) in str((entry / "cwd").readlink()) and state not in "ZX":
                found.append((entry / "cmdline").read_text().replace("\0", " ")[:80])
        except OSError:
            continue
    return found


def test_connect_refuses_what_its_spark_cannot_honour(on_connect):
    with pytest.raises(ConfNotAllowed, match=r"spark.driver.memory .* has no effect"):
        on_connect.start(WRITER, conf={"spark.driver.memory": "2g"})
