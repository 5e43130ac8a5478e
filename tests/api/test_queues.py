"""Why a run waits, as the API shows it; the facts are stood in for."""

from __future__ import annotations

import pytest

from dataharbour.errors import Unavailable
from dataharbour.jobs.queueing import Facts, Slots

from .conftest import events

FULL = Facts(
    dag_paused=False,
    dag_run="running",
    task="scheduled",
    pool="small",
    pool_slots=Slots(2, 2),
    tasks_before=0,
)
SAID = {
    "reason": "pool_full",
    "message": "the pool small: 2 of 2 slots in use",
    "position": 1,
    "until": None,
}


class Queues:
    """Every task waits for a full pool, unless the database is away."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.is_away = False

    def facts(self, keys):
        self.asked.append(len(keys))
        if self.is_away:
            raise Unavailable("Airflow's database did not answer.", "Try again.")
        return dict.fromkeys(keys, FULL)


@pytest.fixture
def queues(server):
    queues = Queues()
    object.__setattr__(server.services, "queues", queues)
    return queues


def start(client):
    return client.post("/api/v1/jobs/hello/runs", json={}).json()["id"]


def test_a_queued_run_says_why(admin, queues):
    run = start(admin)
    assert admin.get(f"/api/v1/runs/{run}").json()["queue"] == SAID


def test_a_list_asks_once_for_all_of_its_runs(admin, queues):
    for _ in range(3):
        start(admin)
    listed = admin.get("/api/v1/runs").json()["items"]
    assert [run["queue"] for run in listed] == [SAID] * 3
    assert queues.asked == [3]


def test_what_cannot_be_asked_is_unknown_and_the_run_is_shown_all_the_same(admin, queues):
    run = start(admin)
    queues.is_away = True
    found = admin.get(f"/api/v1/runs/{run}")
    assert found.status_code == 200
    assert found.json()["queue"]["reason"] == "unknown"


def test_nobody_is_asked_about_runs_that_do_not_wait(admin, queues, driver):
    run = admin.get(f"/api/v1/runs/{driver.run_id}").json()
    assert (run["state"], run["queue"]) == ("RUNNING", None)
    admin.get("/api/v1/runs")
    assert queues.asked == []


def test_who_follows_the_log_is_told_why_it_does_not_begin(admin, queues):
    run = start(admin)
    headers = {"Accept": "text/event-stream"}
    with admin.stream("GET", f"/api/v1/runs/{run}/logs", headers=headers) as answer:
        told = (data for name, _, data in events(answer) if name == "queue")
        assert next(told) == SAID
