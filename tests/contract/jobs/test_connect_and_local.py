"""What only the two backends of this machine do."""

from __future__ import annotations

import time

import pytest

from dataharbour.errors import ConfNotAllowed
from dataharbour.jobs.backends.connect import ConnectBackend
from dataharbour.jobs.backends.launch import ConnectEndpoint
from dataharbour.jobs.backends.local import LocalBackend
from dataharbour.jobs.model import Detail, FailureClass

from .conftest import ENDLESS, until

pytestmark = pytest.mark.spark

COUNT = """
    from pyspark.sql import SparkSession
    print(SparkSession.builder.getOrCreate().range(9).count())
"""


def test_connect_names_the_error_inside_a_python_function(on_connect):
    state = on_connect.end(
        on_connect.start(
            """
            from pyspark.sql import SparkSession, functions as F
            spark = SparkSession.builder.getOrCreate()
            divide = F.udf(lambda x: 1 // (x - 3), "long")
            spark.range(10).select(divide("id")).collect()
            """,
        )
    )
    assert state.failure.message.splitlines()[0].startswith("ZeroDivisionError: ")


def test_cancelling_frees_the_server(on_connect):
    run = on_connect.start(ENDLESS)
    until(lambda: "session" in on_connect.output(run), 30)
    time.sleep(1)
    on_connect.store.cancel(run.id, now=run.created_at)
    assert on_connect.end(run).observed is Detail.CANCELLED
    after = on_connect.start(COUNT)
    assert on_connect.end(after, timeout_s=20).observed is Detail.SUCCEEDED


def test_a_killed_application_leaves_no_query_on_the_server(on_connect):
    run = on_connect.start(
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
    state = site.end(site.start(COUNT))
    assert time.monotonic() - started < 15
    assert state.failure.failure_class is FailureClass.INFRA
    assert state.failure.message.startswith("No Spark Connect server answers at localhost:1")


def test_a_wrong_token_is_told_at_once(make_site, connect_server):
    site = make_site(
        ConnectBackend(lambda: ConnectEndpoint("localhost", connect_server.port, "wrong-token"))
    )
    run = site.start(COUNT)
    state = site.end(run, timeout_s=30)
    assert state.failure.failure_class is FailureClass.INFRA
    assert "UNAUTHENTICATED" in state.failure.message
    assert "wrong-token" not in "\n".join([state.failure.message, *site.output(run)])


def test_local_honours_what_is_fixed_when_spark_starts(make_site):
    site = make_site(LocalBackend())
    run = site.start(
        """
        from pyspark.sql import SparkSession
        context = SparkSession.builder.getOrCreate().sparkContext
        print(context.master, context.getConf().get("spark.driver.memory"))
        """,
        conf={"spark.driver.memory": "600m", "spark.driver.cores": "1"},
    )
    assert site.end(run).observed is Detail.SUCCEEDED, site.output(run)
    assert site.output(run, "stdout") == ["local[1] 600m"]


def test_connect_refuses_what_its_spark_cannot_honour(on_connect):
    with pytest.raises(ConfNotAllowed, match=r"spark.driver.memory .* has no effect"):
        on_connect.start(COUNT, conf={"spark.driver.memory": "2g"})
