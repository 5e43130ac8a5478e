"""Runs on one Connect server: each alone in its session, and nothing left of it afterwards."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from collections.abc import Callable
from contextlib import contextmanager

import httpx
import pytest

from dataharbour.jobs.backends.connect import ConnectBackend
from dataharbour.jobs.backends.launch import StartedDriver
from dataharbour.jobs.model import Detail, FailureClass
from dataharbour.jobs.stopping import give_up
from dataharbour.platform.connect_pages import read_sessions

pytestmark = pytest.mark.spark

LEFT_WITHIN_S = 25.0
QUERY = """
    import os, signal, sys, threading, time
    from pyspark.sql import SparkSession, functions as F
    spark = SparkSession.builder.getOrCreate()
    spark.sql("select 1").collect()
    print("session", flush=True)
"""
ENDLESS = QUERY + "    spark.range(10**15).select(F.sum(F.hash('id'))).collect()\n"
DEAF = ENDLESS.replace("print(", "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(", 1)


def then(line: str) -> str:
    return f"{QUERY}    {line}\n"


def while_querying(line: str) -> str:
    return f"{QUERY}    threading.Timer(2, lambda: {line}).start()\n" + ENDLESS[len(QUERY) :]


def cancel(site, run):
    site.store.cancel(run.id, now=run.created_at)


def lose_the_lease(site, run):
    site.store.give_up(run.id, now=run.created_at)


def kill_the_supervisor(site, run):
    """And do what the task does once the lease is over."""
    attempt = site.store.wait(run.id, timeout_s=0)
    os.kill(int(attempt.external_id.split(":")[1]), signal.SIGKILL)
    give_up(site.store, run, attempt, backend_of=lambda _: site.backend, now=run.created_at)


ENDS: dict[str, tuple[str, dict, Callable | None]] = {
    "success": (QUERY, {}, None),
    "stopped-by-itself": (then("spark.stop()"), {}, None),
    "sys-exit": (then("sys.exit(3)"), {}, None),
    "left-without-a-word": (then("os._exit(0)"), {}, None),
    "exception": (then("1 / 0"), {}, None),
    "application-killed": (while_querying("os.kill(os.getpid(), signal.SIGKILL)"), {}, None),
    "cancelled": (ENDLESS, {}, cancel),
    "cancelled-and-deaf": (DEAF, {}, cancel),
    "timed-out": (ENDLESS, {"timeout_s": 4.0}, None),
    "lease-lost": (ENDLESS, {}, lose_the_lease),
    "supervisor-killed": (ENDLESS, {}, kill_the_supervisor),
}  # fmt: skip


@pytest.fixture
def on_connect(make_site, connect_process):
    until(lambda: left_on(connect_process) == (0, 0, []), 60)
    return make_site(ConnectBackend(lambda: connect_process.endpoint))


def until(condition, seconds: float, *, of=None):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, of and left_on(of)
        time.sleep(0.2)


def left_on(server) -> tuple[int, int, list]:
    """Open sessions, running operations, and Spark's own running jobs."""
    sessions = read_sessions(server.page)
    base = f"{server.endpoint.ui_url}/api/v1/applications"
    with httpx.Client(timeout=30, trust_env=False) as http:
        application = http.get(base).json()[0]["id"]
        jobs = http.get(f"{base}/{application}/jobs", params={"status": "running"}).json()
    return sessions.open, sessions.running, [job["jobId"] for job in jobs]


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_of_a_run(on_connect, connect_process, end):
    source, request, act = ENDS[end]
    run = on_connect.start(source, **request)
    if act is not None:
        until(lambda: "session" in on_connect.output(run), 60)
        assert left_on(connect_process)[0] == 1, "its session is seen"
        act(on_connect, run)
    attempt = on_connect.store.wait(run.id, timeout_s=0)
    until(lambda: on_connect.backend.is_alive(attempt.external_id) is False, 60)
    assert "session" in on_connect.output(run), "there was one to be left"
    until(lambda: left_on(connect_process) == (0, 0, []), LEFT_WITHIN_S, of=connect_process)


def test_without_the_interrupter_a_killed_application_leaves_its_query(
    on_connect, connect_process, tmp_path, monkeypatch
):
    """The planted fault: so the test above sees what it looks for."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'dataharbour.jobs.driver.interrupt' in sys.orig_argv: os._exit(1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = on_connect.start(ENDS["application-killed"][0])
    on_connect.end(run)
    open_sessions, _, jobs = left_on(connect_process)
    assert open_sessions == 1
    assert jobs
    attempt = on_connect.store.wait(run.id, timeout_s=0)
    give_up(  # what the task does for a driver that was lost
        on_connect.store, run, attempt, backend_of=lambda _: on_connect.backend, now=run.created_at
    )
    until(lambda: left_on(connect_process) == (0, 0, []), LEFT_WITHIN_S)


def test_two_runs_at_once_do_not_see_each_other(on_connect, connect_process, tmp_path):
    source = """
        import sys, time
        from pathlib import Path
        from pyspark.sql import SparkSession
        me, other, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
        spark = SparkSession.builder.getOrCreate()

        def together(step):
            (folder / f"{me}-{step}").touch()
            while not (folder / f"{other}-{step}").exists():
                time.sleep(0.05)

        together("begun")
        spark.sql(f"select '{me}' as who").createOrReplaceTempView("mine")
        spark.sql(f"select 1").createOrReplaceTempView(f"only_{me}")
        spark.conf.set("spark.sql.shuffle.partitions", str(len(me)))
        spark.udf.register("name_of", lambda: me, "string")
        spark.sql(f"declare variable v string default '{me}'")
        together("made")
        print("view", spark.table("mine").first().who)
        print("conf", spark.conf.get("spark.sql.shuffle.partitions"))
        print("function", spark.sql("select name_of() as n").first().n)
        print("variable", spark.sql("select v").first().v)
        print("others", spark.catalog.tableExists(f"only_{other}"))
        together("looked")
    """
    runs = {
        me: on_connect.start(source, me, other, str(tmp_path))
        for me, other in (("ann", "robert"), ("robert", "ann"))
    }
    until(lambda: left_on(connect_process)[0] == 2, 60)
    assert connect_process.page.count("ana@example.org") >= 2, "we say who the user is"
    for me, run in runs.items():
        assert on_connect.end(run).observed is Detail.SUCCEEDED, on_connect.output(run)
        lines = [
            f"view {me}", f"conf {len(me)}", f"function {me}", f"variable {me}", "others False",
        ]  # fmt: skip
        assert on_connect.output(run, "stdout") == lines


@contextmanager
def frozen(pid: int):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_frozen_server_does_not_hold_a_driver_that_leaves(on_connect, connect_process, tmp_path):
    go = tmp_path / "go"
    leave = f"while not os.path.exists({str(go)!r}): time.sleep(0.05)"
    run = on_connect.start(then(leave))
    until(lambda: "session" in on_connect.output(run), 60)
    with frozen(connect_process.pid):
        go.touch()
        began = time.monotonic()
        state = on_connect.end(run, timeout_s=60)
        assert time.monotonic() - began < 40
    assert state.observed is Detail.SUCCEEDED, "the application had done its work"
    # Its session would expire; the next test does not wait for that.
    on_connect.backend.kill(StartedDriver(state.attempt_id, state.external_id, run.principal))


def test_a_driver_is_not_started_on_a_frozen_server(make_site, connect_process):
    site = make_site(ConnectBackend(lambda: connect_process.endpoint, patience_s=0))
    with frozen(connect_process.pid):
        state = site.end(site.start(QUERY), timeout_s=60)
    assert state.failure.failure_class is FailureClass.INFRA
    assert state.failure.message.startswith("No Spark Connect server answers")


def test_the_sources_are_python():
    for source, _, _ in ENDS.values():
        compile(textwrap.dedent(source), "job.py", "exec")
