"""What people do with a task in Airflow, or with a run over REST, while its driver works."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

pytestmark = pytest.mark.integration

APPLICATION = """
import sys, time
from pathlib import Path

while not Path(sys.argv[1]).exists():
    time.sleep(0.2)
"""


@pytest.fixture
def airflow(platform):
    headers = {"Authorization": f"Bearer {platform.token}"}
    with httpx.Client(
        base_url=f"{platform.airflow_url}/api/v2", headers=headers, trust_env=False, timeout=30
    ) as client:
        yield client


class Waiting:
    """A run whose application waits until it may end.

    Attributes:
        may_end: the file that it waits for; its name stands in the driver's command line.
    """

    def __init__(self, platform, airflow: httpx.Client, may_end: Path) -> None:
        self.platform, self.airflow, self.may_end = platform, airflow, may_end
        (platform.home.applications / "waits.py").write_text(APPLICATION)
        body = {"application": "waits.py", "args": [str(may_end)], "backend": "local"}
        self.id = platform.api.start("runs", body, key=str(uuid4()))["id"]
        self.dag_run_id = self.run()["dag_run_id"]
        self.dag_run = f"/dags/spark_job/dagRuns/{self.dag_run_id}"

    def run(self, id: str | None = None) -> dict:
        return self.platform.api.get(f"runs/{id or self.id}")

    def task(self) -> dict:
        return self.airflow.get(f"{self.dag_run}/taskInstances/run").json()

    def task_state(self) -> str | None:
        return self.task()["state"]

    def until(self, task_state: str) -> None:
        wait_for(lambda: self.run()["state"] == "RUNNING" and self.drivers(), "the driver works")
        wait_for(lambda: self.task_state() == task_state, f"the task is {task_state}")
        if task_state == "deferred":  # before that no process knows of it
            wait_for(lambda: self.task()["triggerer_job"], "the triggerer has it")
            time.sleep(2)

    def drivers(self) -> list[int]:
        """The processes that run the application."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(self.may_end).encode() in words:
                found.append(int(entry.name))
        return found

    def events(self, id: str | None = None) -> list[tuple[str, str]]:
        items = self.platform.api.get(f"runs/{id or self.id}/events")["items"]
        return [(event["new"], event["actor"]) for event in items if event["kind"] == "run.changed"]


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)


@pytest.fixture
def waiting(platform, airflow, tmp_path):
    """One such run; what it has left is ended afterwards."""
    run = Waiting(platform, airflow, tmp_path / f"may-end-{uuid4().hex}")
    yield run
    run.may_end.touch()
    wait_for(lambda: not run.drivers(), "the driver has ended")


@pytest.mark.parametrize("task_state", ["running", "deferred"])
def test_a_task_that_is_marked_failed_ends_its_run_and_its_driver(waiting, task_state):
    waiting.until(task_state)
    path = f"{waiting.dag_run}/taskInstances/run"
    waiting.airflow.patch(path, json={"new_state": "failed"}).raise_for_status()
    wait_for(lambda: waiting.run()["detail"] == "CANCELLED", "the run is cancelled")
    wait_for(lambda: not waiting.drivers(), "the driver has ended", seconds=10)
    assert ("CANCELLING", "airflow") in waiting.events()


@pytest.mark.parametrize("task_state", ["running", "deferred"])
def test_a_task_that_is_cleared_ends_its_run_and_starts_another(waiting, task_state):
    waiting.until(task_state)
    first = set(waiting.drivers())
    body = {
        "dry_run": False,
        "dag_run_id": waiting.dag_run_id,
        "task_ids": ["run"],
        "only_failed": False,
        "reset_dag_runs": True,
    }
    waiting.airflow.post("/dags/spark_job/clearTaskInstances", json=body).raise_for_status()
    wait_for(lambda: waiting.run()["detail"] == "CANCELLED", "the run is cancelled")
    assert first.isdisjoint(waiting.drivers())
    chain = f"runs/{waiting.id}/repairs"
    wait_for(lambda: len(waiting.platform.api.get(chain)["items"]) == 2, "another run is there")
    second = waiting.platform.api.get(chain)["items"][0]
    assert second["id"] != waiting.id
    assert waiting.platform.api.get(f"runs/{second['id']}")["links"]["retry_of"].endswith(
        waiting.id
    )
    waiting.may_end.touch()
    wait_for(lambda: waiting.run(second["id"])["detail"] == "SUCCEEDED", "the other one succeeds")
    wait_for(lambda: waiting.task_state() == "success", "so does the task")


def test_a_deferred_run_that_is_cancelled_fails_its_task_and_may_be_started_again(waiting):
    waiting.until("deferred")
    began = time.monotonic()
    waiting.platform.api.start(f"runs/{waiting.id}:cancel", {"grace_s": 0}, key=str(uuid4()))
    wait_for(lambda: waiting.run()["detail"] == "CANCELLED", "the run is cancelled", seconds=10)
    assert not waiting.drivers()
    assert time.monotonic() - began < 10
    assert ("CANCELLING", "user:admin") in waiting.events()
    wait_for(lambda: waiting.task_state() == "failed", "the task has failed")
    wait_for(
        lambda: waiting.airflow.get(waiting.dag_run).json()["state"] == "failed", "its DAG run, too"
    )
    waiting.may_end.touch()
    again = waiting.platform.api.start(f"runs/{waiting.id}:retry", {}, key=str(uuid4()))
    wait_for(lambda: waiting.run(again["id"])["detail"] == "SUCCEEDED", "the next one succeeds")
