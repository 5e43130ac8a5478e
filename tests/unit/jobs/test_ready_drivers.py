"""Drivers that were started ahead, on a real database: they do what any other does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from dataharbour.jobs.applications import resolve_application
from dataharbour.jobs.backends import start
from dataharbour.jobs.backends.connect import ConnectBackend
from dataharbour.jobs.backends.launch import ConnectEndpoint, LaunchContext
from dataharbour.jobs.driver.handover import waiting
from dataharbour.jobs.driver.process import is_running, start_ticks
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.jobs.model import Detail, FailureClass, RunRequest
from dataharbour.settings import Settings

from .conftest import NOW


class Place:
    """A platform's folder, a server that speaks, and drivers that wait."""

    def __init__(self, folder: Path, store, new_run, conninfo: str, port: int) -> None:
        self.home, self.store, self._new_run = folder / "home", store, new_run
        self.conninfo = conninfo
        self.posts = self.home / "run" / "drivers"
        self.posts.parent.mkdir(parents=True)
        self.applications = folder / "apps"
        self.applications.mkdir()
        self.started: list[subprocess.Popen[bytes]] = []
        endpoint = ConnectEndpoint("localhost", port, "the-token", "http://pages")
        self.backend = ConnectBackend(lambda: endpoint, patience_s=0)

    def ready(self) -> subprocess.Popen[bytes]:
        """A driver that waits."""
        before = {each.pid for each in waiting(self.posts)}
        driver = subprocess.Popen(
            [sys.executable, "-m", "dataharbour.jobs.driver.standby", str(self.posts)],
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"},
            cwd="/",
            start_new_session=True,
        )
        self.started.append(driver)
        until(lambda: {each.pid for each in waiting(self.posts)} - before, 60)
        return driver

    def submit(self, source: str) -> tuple[LaunchContext, str]:
        (self.applications / "job.py").write_text(source)
        settings = Settings(
            home=self.home,
            include_dir=self.home,
            applications=(self.applications,),
            lake="file:///lake",
            java_home=None,
            spark_defaults=None,
            driver_dsn_file=self.home / "dsn",
        )
        run = self._new_run(backend="connect")
        context = LaunchContext(
            grant=self.store.start_attempt(run.id, backend="connect", now=NOW),
            request=RunRequest("job.py", args=("--x", "a b")),
            application=resolve_application("job.py", settings.applications),
            principal="ana@example.org",
            settings=settings,
            driver_conninfo=self.conninfo,
            lake=LakeEndpoint("file:///lake"),
        )
        return context, self.backend.submit(context)


def until(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def place(tmp_path, store, new_run, driver_database, monkeypatch):
    for name in [n for n in os.environ if n.startswith(("LANG", "LC_", "TZ", "PYTHONPATH"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANG", "C.UTF-8")  # without it Python sets LC_CTYPE
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    found = Place(tmp_path, store, new_run, driver_database, port)
    yield found
    server.stop(None)
    for driver in found.started:
        driver.kill()
        driver.wait()


def pid_of(external_id: str) -> int:
    return int(external_id.split(":")[1])


def children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


TELL = """
import json, os, sys
loaded = sorted(m for m in ("pandas", "grpc", "psycopg") if m in sys.modules)
print(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), loaded]))
"""


def test_one_that_waits_takes_the_attempt(place):
    driver = place.ready()
    context, external_id = place.submit(TELL)
    assert pid_of(external_id) == driver.pid
    state = place.store.wait(context.grant.run_id, timeout_s=30)
    assert state.observed is Detail.SUCCEEDED
    [line] = [i.line for i in place.store.logs(context.grant.run_id).items if i.stream == "stdout"]
    arguments, cwd, environment, loaded = json.loads(line)
    folder = place.home / "runs" / str(context.grant.attempt_id)
    assert (arguments, cwd) == (["--x", "a b"], str(folder / "work"))
    assert environment["DATAHARBOUR_RUN_ID"] == str(context.grant.run_id)
    assert f"session_id={context.grant.attempt_id}" in environment["SPARK_REMOTE"]
    assert "HARBOUR_TEST" not in environment
    assert loaded == ["grpc", "pandas"], "Spark's client is there, and nothing of ours"
    assert driver.wait(20) == 0
    assert (folder / "supervisor.log").exists()
    assert [file.name for file in folder.glob("*.json")] == ["supervisor.json"], "no spec is left"
    assert place.backend.ui_url(external_id) == "http://pages"


def test_it_serves_one_attempt_and_the_next_has_a_driver_of_its_own(place):
    driver = place.ready()
    place.submit("import time; time.sleep(60)")
    context, second = place.submit("print('second')")
    assert pid_of(second) != driver.pid
    assert place.store.wait(context.grant.run_id, timeout_s=30).observed is Detail.SUCCEEDED


def test_the_cause_of_an_error_and_the_lines_of_its_trace_are_those_of_any_driver(place):
    place.ready()
    context, _ = place.submit("{}['missing']")
    state = place.store.wait(context.grant.run_id, timeout_s=30)
    assert state.failure.failure_class is FailureClass.USER_ERROR
    assert state.failure.message.startswith("KeyError: 'missing'")
    lines = [i.line for i in place.store.logs(context.grant.run_id).items]
    assert not any("child.py" in line or "prepare.py" in line for line in lines), lines


def test_it_is_cancelled_as_any_driver(place):
    place.ready()
    context, _ = place.submit("import time; print('begun', flush=True); time.sleep(600)")
    run_id = context.grant.run_id
    until(lambda: any(i.line == "begun" for i in place.store.logs(run_id).items))
    place.store.cancel(run_id, now=NOW)
    assert place.store.wait(run_id, timeout_s=30).observed is Detail.CANCELLED


def test_its_application_dies_with_its_supervisor(place):
    driver = place.ready()
    context, _ = place.submit("import time; print('begun', flush=True); time.sleep(600)")
    run_id = context.grant.run_id
    until(lambda: any(i.line == "begun" for i in place.store.logs(run_id).items))
    [child] = children(driver.pid)
    ticks = start_ticks(child)
    driver.kill()
    until(lambda: not is_running(child, ticks))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["told", "killed"])
def test_one_that_is_ended_while_it_waits_leaves_nothing(place, number):
    driver = place.ready()
    [child] = children(driver.pid)
    ticks = start_ticks(child)
    driver.send_signal(number)
    driver.wait(20)
    until(lambda: not is_running(child, ticks))
    assert waiting(place.posts) == []


def test_one_whose_child_was_killed_waits_no_more(place):
    driver = place.ready()
    os.kill(children(driver.pid)[0], signal.SIGKILL)
    assert driver.wait(20) == 1
    context, external_id = place.submit("print('all the same')")
    assert pid_of(external_id) != driver.pid
    assert place.store.wait(context.grant.run_id, timeout_s=30).observed is Detail.SUCCEEDED


def test_one_that_hangs_is_passed_over(place):
    driver = place.ready()
    driver.send_signal(signal.SIGSTOP)
    try:
        context, external_id = place.submit("print('all the same')")
        assert pid_of(external_id) != driver.pid
        state = place.store.wait(context.grant.run_id, timeout_s=30)
        assert state.observed is Detail.SUCCEEDED
    finally:
        driver.send_signal(signal.SIGCONT)
    # It wakes up, finds nothing to take, and waits on or is of use for the next.
    context, external_id = place.submit("print('next')")
    assert place.store.wait(context.grant.run_id, timeout_s=30).observed is Detail.SUCCEEDED


def test_one_that_wakes_up_before_another_has_started_takes_nothing(place, monkeypatch):
    driver = place.ready()
    driver.send_signal(signal.SIGSTOP)
    spawn = start._spawn

    def slowly(argv, *rest):
        driver.send_signal(signal.SIGCONT)
        time.sleep(1)  # it has looked for the spec by now
        return spawn(argv, *rest)

    monkeypatch.setattr(start, "_spawn", slowly)
    context, external_id = place.submit(TELL)
    assert place.store.wait(context.grant.run_id, timeout_s=30).observed is Detail.SUCCEEDED
    record = place.home / "runs" / str(context.grant.attempt_id) / "supervisor.json"
    assert json.loads(record.read_text())["pid"] == pid_of(external_id)
    assert driver.poll() is None
    assert [each.pid for each in waiting(place.posts)] == [driver.pid], "it waits for the next"
