"""Schedules, queues and deadlines as the running platform has them: nothing is stood in for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from dataharbour.cli.client import Client

pytestmark = pytest.mark.integration

PRINTS = """
import sys
import time

print("given", *sys.argv[2:], flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def api(platform) -> Client:
    return platform.api


@pytest.fixture(scope="module")
def airflow(platform) -> Iterator[httpx.Client]:
    """Airflow's REST API as the admin sees it."""
    with httpx.Client(
        base_url=f"{platform.airflow_url}/api/v2",
        headers={"Authorization": f"Bearer {platform.token}"},
        trust_env=False,
        timeout=60,
    ) as client:
        yield client


@pytest.fixture(scope="module")
def application(platform) -> str:
    """Sleeps so many seconds, and prints its other arguments."""
    file = platform.home.applications / "prints_arguments.py"
    file.write_text(PRINTS)
    return file.name


@pytest.fixture(scope="module")
def declare(platform, airflow, application) -> Iterator[Callable[..., str]]:
    """Declares jobs, all at once; ready when Airflow has read them."""
    files: list[Path] = []

    def write(name: str, **fields: Any) -> None:
        document = {"description": "A test.", "application": application, "args": ["0"], **fields}
        files.append(platform.home.jobs / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump(document))

    yield write
    for file in files:
        file.unlink()


@pytest.fixture(scope="module")
def jobs(declare, airflow) -> None:
    """All jobs of these tests: one wait for Airflow to read them."""
    dates = ["{logical_date:%Y-%m-%d}", "{data_interval_start}", "{data_interval_end}"]
    night = {"cron": "0 6 * * *", "data_interval": True}
    declare(
        "t_daily",
        schedule=night,
        timezone="America/New_York",
        args=["0", *dates, "{params.city}"],
        params={"city": {"type": "string", "default": "Bern"}},
        max_concurrent_runs=3,
    )
    declare("t_after", schedule={"assets": ["silver/flights"]}, args=["0", "after"])
    declare(
        "t_keys",
        schedule={"cron": "0 0 1 1 *", "partition_key": "%Y"},
        args=["0", "{partition_key}"],
    )
    declare("t_single", args=["6"])
    declare("t_pool", args=["6"], pool="t_one_slot", max_concurrent_runs=5)
    declare("t_skip", args=["6"], on_busy="skip")
    declare("t_late", args=["6"], deadline={"within_s": 1})
    declare("t_paused")
    pool = {"name": "t_one_slot", "slots": 1, "include_deferred": True}
    assert airflow.post("/pools", json=pool).status_code in (201, 409)
    names = ("daily", "after", "keys", "single", "pool", "skip", "late", "paused")
    for name in names:
        until(lambda name=name: airflow.get(f"/dags/job__t_{name}").status_code == 200, within_s=90)


def until(seen: Callable[[], Any], *, within_s: float) -> Any:
    """What `seen` finds, once it finds something."""
    deadline = time.monotonic() + within_s
    while not (found := seen()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.3)
    return found


def start(api: Client, job: str, **body: Any) -> str:
    return api.start(f"jobs/{job}/runs", body, key=f"t-{time.time_ns()}")["id"]


def ended(api: Client, run_id: str) -> dict[str, Any]:
    return list(api.watch(run_id, timeout_s=120))[-1]


def given(api: Client, run_id: str) -> str:
    """What the application was given."""
    lines = [item["line"] for item in api.get(f"runs/{run_id}/logs")["items"]]
    return next(line for line in lines if line.startswith("given"))


def all_ended(api: Client, job: str, count: int) -> list[dict[str, Any]]:
    def look() -> list[dict[str, Any]]:
        runs = [run for run in api.items("runs", job=job) if run["ended_at"]]
        return runs if len(runs) >= count else []

    return until(look, within_s=150)


@pytest.mark.usefixtures("jobs")
def test_a_backfill_makes_one_run_for_each_date_and_the_application_learns_it(api, airflow):
    answer = airflow.post(
        "/backfills",
        json={
            "dag_id": "job__t_daily",
            "from_date": "2026-01-01T00:00:00Z",
            "to_date": "2026-01-04T00:00:00Z",
            "dag_run_conf": {"city": "Chur"},
            "max_active_runs": 2,
        },
    )
    assert answer.status_code == 200, answer.text
    runs = [
        run
        for run in all_ended(api, "t_daily", 4)  # the schedule itself begins with yesterday
        if run["dag_run_id"].startswith("backfill__")
    ]
    assert [run["state"] for run in runs] == ["SUCCEEDED"] * 3
    assert sorted(given(api, run["id"]) for run in runs) == [
        f"given 2026-01-0{day} 2026-01-0{day}T11:00:00+00:00 2026-01-0{day + 1}T11:00:00+00:00 Chur"
        for day in (1, 2, 3)
    ]
    assert {run["occasion"]["logical_date"] for run in runs} == {
        f"2026-01-0{day}T11:00:00Z" for day in (1, 2, 3)
    }


@pytest.mark.usefixtures("jobs")
def test_a_run_without_a_date_is_refused_with_the_way_out(api):
    from dataharbour.errors import DataHarbourError

    with pytest.raises(DataHarbourError, match="no logical date") as caught:
        start(api, "t_daily")
    assert "{logical_date|VALUE}" in caught.value.remedy


@pytest.mark.usefixtures("jobs")
def test_a_job_follows_the_tables_that_it_is_scheduled_on(api, airflow):
    found = airflow.get("/assets", params={"uri_pattern": "table/silver/flights"}).json()
    [asset] = [a for a in found["assets"] if a["uri"].rstrip("/").endswith("silver/flights")]
    airflow.post("/assets/events", json={"asset_id": asset["id"], "extra": {}}).raise_for_status()
    [run] = all_ended(api, "t_after", 1)
    assert run["state"] == "SUCCEEDED", run["failure"]
    assert given(api, run["id"]) == "given after"


@pytest.mark.usefixtures("jobs")
def test_a_run_of_a_partition_knows_its_key(api, airflow):
    body = {"logical_date": None, "partition_key": "2024"}
    airflow.post("/dags/job__t_keys/dagRuns", json=body).raise_for_status()
    [run] = all_ended(api, "t_keys", 1)
    assert given(api, run["id"]) == "given 2024"
    assert run["occasion"]["partition_key"] == "2024"


def queue_of(api: Client, run_id: str, reason: str) -> dict[str, Any]:
    """Why a run waits, once that is the reason."""

    def look() -> dict[str, Any] | None:
        queue = api.get(f"runs/{run_id}")["queue"]
        return queue if queue and queue["reason"] == reason else None

    return until(look, within_s=30)


@pytest.mark.usefixtures("jobs")
def test_a_run_says_that_its_pool_is_full(api):
    first = start(api, "t_pool")
    until(lambda: api.get(f"runs/{first}")["attempt"], within_s=30)  # it has the slot
    second = start(api, "t_pool")
    queue = queue_of(api, second, "pool_full")
    assert queue["message"] == "the pool t_one_slot: 1 of 1 slots in use"
    assert queue["position"] == 1
    [listed] = [run for run in api.items("runs", job="t_pool") if run["id"] == second]
    assert listed["queue"]["reason"] == "pool_full"
    for run_id in (first, second):
        run = ended(api, run_id)
        assert (run["state"], run["queue"]) == ("SUCCEEDED", None)


@pytest.mark.usefixtures("jobs")
def test_a_run_says_that_its_job_is_busy_and_when_its_turn_comes(api):
    first = start(api, "t_single")
    until(lambda: api.get(f"runs/{first}")["attempt"], within_s=30)
    later = [start(api, "t_single"), start(api, "t_single")]
    for position, run_id in enumerate(later, start=1):
        queue = queue_of(api, run_id, "max_concurrent_runs")
        assert queue["message"] == "1 of at most 1 runs of its DAG are active"
        assert queue["position"] == position
    assert {ended(api, run_id)["state"] for run_id in (first, *later)} == {"SUCCEEDED"}


@pytest.mark.usefixtures("jobs")
def test_a_run_says_that_its_dag_is_paused(api, airflow):
    airflow.patch("/dags/job__t_paused", json={"is_paused": True}).raise_for_status()
    run_id = start(api, "t_paused")
    assert "is paused" in queue_of(api, run_id, "dag_paused")["message"]
    airflow.patch("/dags/job__t_paused", json={"is_paused": False}).raise_for_status()
    assert ended(api, run_id)["state"] == "SUCCEEDED"


@pytest.mark.usefixtures("jobs")
def test_a_job_that_skips_does_not_wait(api, airflow):
    first = start(api, "t_skip")
    until(lambda: api.get(f"runs/{first}")["attempt"], within_s=30)
    skipped = ended(api, start(api, "t_skip"))
    assert (skipped["state"], skipped["detail"]) == ("CANCELLED", "SKIPPED")
    assert first in skipped["failure"]["message"]
    assert ended(api, first)["state"] == "SUCCEEDED"
    path = f"/dags/job__t_skip/dagRuns/{skipped['dag_run_id']}/taskInstances/run"
    assert airflow.get(path).json()["state"] == "skipped"


@pytest.mark.usefixtures("jobs")
def test_a_missed_deadline_is_an_event_and_the_run_goes_on(api):
    run_id = start(api, "t_late")

    def missed() -> list[dict[str, Any]]:
        events = api.get(f"runs/{run_id}/events")["items"]
        return [event for event in events if event["kind"] == "run.deadline_missed"]

    [event] = until(missed, within_s=60)
    assert event["data"]["job"] == "t_late"
    assert ended(api, run_id)["state"] == "SUCCEEDED"
    assert len(missed()) == 1
