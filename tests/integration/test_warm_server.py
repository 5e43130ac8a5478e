"""The warm server of the real platform is replaced, and runs that are not on it notice nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from dataharbour.platform import connect_state, ports
from dataharbour.platform.connect_pair import SERVERS, other
from dataharbour.platform.supervise import Supervisor

pytestmark = pytest.mark.integration

QUICK = """from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
print("answer", spark.sql("select 40 + 2 as n").first().n)
"""
LONG = """import os
import sys
import time

from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
spark.sql("select 1 as n").createOrReplaceTempView("kept")
print("session", flush=True)
while not os.path.exists(sys.argv[1]):
    spark.table("kept").collect()
    time.sleep(0.5)
print("still", spark.table("kept").first().n)
"""


@pytest.fixture
def applications(platform) -> dict[str, str]:
    """Two applications, by what they are for."""
    for name, source in (("quick.py", QUICK), ("long.py", LONG)):
        (platform.home.applications / name).write_text(source)
    return {"quick": "quick.py", "long": "long.py"}


def start(platform, application: str, *args: str) -> str:
    body = {"application": application, "args": list(args), "backend": "connect"}
    return platform.api.post("runs", body)["id"]


def end(platform, run_id: str, seconds: float = 240) -> dict:
    deadline = time.monotonic() + seconds
    while (run := platform.api.get(f"runs/{run_id}"))["state"] in ("QUEUED", "RUNNING", "LOST"):
        assert time.monotonic() < deadline, run
        time.sleep(0.5)
    return run


def lines(platform, run_id: str) -> list[str]:
    return [item["line"] for item in platform.api.get(f"runs/{run_id}/logs")["items"]]


def until(condition, seconds: float):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def pid_of(platform, server: str) -> int | None:
    return next(s.pid for s in Supervisor(platform.home).states() if s.name == server)


def rows(platform) -> dict[str, dict]:
    status = json.loads(platform.harbour("status", "-o", "json", check=False).stdout)
    return {row["name"]: row for row in status["services"]}


def test_a_leaking_server_is_replaced_while_its_runs_go_on(platform, applications, tmp_path):
    first = connect_state.load(platform.home).current
    settings = platform.home.config / "spark_servers.yaml"
    go_on = tmp_path / "go-on"
    long = start(platform, applications["long"], str(go_on))
    until(lambda: "session" in lines(platform, long), 120)
    settings.write_text("memory_mb: 1\nsettle_s: 1\n")  # every server is over that
    try:
        until(lambda: connect_state.load(platform.home).published == other(first), 240)
        quick = start(platform, applications["quick"])
        assert end(platform, quick)["state"] == "SUCCEEDED"
        assert pid_of(platform, first) is not None, "it waits for the long run"
        assert server(platform, quick) != server(platform, long)
        assert "spark_standby" in rows(platform)
        assert rows(platform)["spark"]["pid"] == pid_of(platform, other(first))
        go_on.touch()
        run = end(platform, long)
        assert (run["state"], run["attempt"]) == ("SUCCEEDED", 1)
        assert "still 1" in lines(platform, long)
        until(lambda: pid_of(platform, first) is None, 120)
        assert "spark_standby" not in rows(platform)
    finally:
        settings.unlink()
    environment = platform.harbour("env").stdout
    port = connect_state.port_of(ports_of(platform), other(first))
    assert f"sc://localhost:{port}" in environment


def test_a_frozen_server_is_replaced_and_new_runs_succeed(platform, applications, tmp_path):
    first = connect_state.load(platform.home).current
    victim = start(platform, applications["long"], str(tmp_path / "never"))
    until(lambda: "session" in lines(platform, victim), 120)
    pid = pid_of(platform, first)
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        run = end(platform, start(platform, applications["quick"]))
        print(f"a new run succeeded {time.monotonic() - began:.0f} s after the server froze")
        assert (run["state"], run["attempt"]) == ("SUCCEEDED", 1)
        until(lambda: pid_of(platform, first) is None, 120)  # killed: it does not come back
        lost = end(platform, victim)
        assert (lost["state"], lost["failure"]["class"]) == ("FAILED", "INFRA")
    finally:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGCONT)


def test_a_keeper_that_is_killed_comes_back_and_changes_nothing(platform, applications):
    before = connect_state.load(platform.home)
    keeper = pid_of(platform, "spark_keeper")
    os.kill(keeper, signal.SIGKILL)
    until(lambda: pid_of(platform, "spark_keeper") not in (None, keeper), 60)
    assert end(platform, start(platform, applications["quick"]))["state"] == "SUCCEEDED"
    assert connect_state.load(platform.home) == before
    running = [name for name in SERVERS if pid_of(platform, name) is not None]
    assert running == [before.current]


def server(platform, run_id: str) -> str:
    attempts = platform.api.get(f"runs/{run_id}/attempts")["items"]
    return attempts[-1]["external_id"].partition("@")[2]


def ports_of(platform) -> dict[str, int]:
    return ports.load(platform.home.run / "ports.json")
