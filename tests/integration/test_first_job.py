"""The first job on the running platform: four ways to start it, and what the lake then holds."""

from __future__ import annotations

import subprocess
import time
from datetime import datetime

import httpx
import pyarrow.dataset as ds
import pytest
from pyarrow import fs

from dataharbour.cli.client import ApiProblem, Client
from dataharbour.testing.running_platform import neutral_environment

pytestmark = pytest.mark.integration

JOB = "flights_delays"


def ended(api: Client, run: dict) -> dict:
    return list(api.watch(run["id"], timeout_s=300))[-1]


def table(platform, name: str):
    """A table of the lake, as any S3 client reads it."""
    env = platform.environment
    store = fs.S3FileSystem(
        access_key=env["AWS_ACCESS_KEY_ID"],
        secret_key=env["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=env["AWS_ENDPOINT_URL"],
        region=env["AWS_REGION"],
    )
    bucket = env["HARBOUR_LAKE"].removeprefix("s3://")
    return ds.dataset(f"{bucket}/{name}", filesystem=store, partitioning="hive").to_table()


@pytest.fixture(scope="module")
def api(platform) -> Client:
    return platform.api


@pytest.fixture(scope="module")
def first_run(api):
    labels = {"labels": {"from": "tests"}}
    return ended(api, api.start(f"jobs/{JOB}/runs", labels, key="first-of-the-tests"))


def test_a_run_by_rest_succeeds(first_run):
    assert first_run["state"] == "SUCCEEDED", first_run["failure"]
    assert first_run["backend"] == "connect"
    assert first_run["attempt"] == 1
    assert first_run["duration_s"] > 0
    assert datetime.fromisoformat(first_run["created_at"]).tzinfo is not None


def test_the_gold_table_holds_every_flight(first_run, platform):
    gold = table(platform, "gold/delays_by_carrier")
    assert gold.num_rows == 16
    assert sum(gold["flights"].to_pylist()) == 336_776
    assert gold.column_names == [
        "carrier",
        "name",
        "flights",
        "cancelled",
        "mean_dep_delay_min",
        "mean_arr_delay_min",
    ]


def test_the_silver_table_is_typed_and_partitioned_by_month(first_run, platform):
    silver = table(platform, "silver/flights")
    assert silver.num_rows == 336_776
    assert set(silver["month"].to_pylist()) == set(range(1, 13))
    assert silver["dep_time"].null_count == 8_255  # cancelled: no departure time


def test_nothing_stays_staged(first_run, platform):
    from dataharbour.platform import credentials, object_store

    keys = credentials.load(platform.home.secrets).s3["admin"]
    s3 = object_store.client(platform.environment["AWS_ENDPOINT_URL"], keys)
    staged = s3.list_objects_v2(Bucket="lake", Prefix=".attempts/").get("Contents", [])
    assert [o["Key"] for o in staged if not o["Key"].endswith("/")] == []


def test_the_drivers_log_is_there_to_the_last_line(first_run, api):
    page = api.get(f"runs/{first_run['id']}/logs")
    lines = [item["line"] for item in page["items"]]
    assert any("336,776" in line for line in lines)
    assert page["complete"] is True


def test_the_task_log_comes_from_the_object_store(first_run, platform):
    url = (
        f"{platform.airflow_url}/api/v2/dags/job__{JOB}/dagRuns/{first_run['dag_run_id']}"
        "/taskInstances/run/logs/1"
    )
    headers = {"Authorization": f"Bearer {platform.token}", "Accept": "application/json"}
    deadline = time.monotonic() + 60
    while True:
        answer = httpx.get(
            url, params={"full_content": True}, headers=headers, trust_env=False, timeout=30
        )
        if "s3://logs/" in answer.text:
            break
        assert time.monotonic() < deadline, answer.text[:500]
        time.sleep(1)
    assert first_run["id"] in answer.text


def test_the_same_key_is_the_same_run(first_run, api):
    key, path = f"test-{time.time_ns()}", f"jobs/{JOB}/runs"
    first = api.start(path, {"labels": {"n": "1"}}, key=key)
    again = api.start(path, {"labels": {"n": "1"}}, key=key)
    assert again["id"] == first["id"]
    with pytest.raises(ApiProblem, match="Idempotency-Key"):
        api.start(path, {"labels": {"n": "2"}}, key=key)
    assert ended(api, first)["state"] == "SUCCEEDED"


def test_a_single_application_runs_on_the_backend_local(api):
    request = {
        "application": "flights_delays.py",
        "args": ["--raw", "{lake}/raw/nycflights13", "--output", "{output}"],
        "backend": "local",
    }
    run = ended(api, api.start("runs", request, key=f"test-{time.time_ns()}"))
    assert run["state"] == "SUCCEEDED", run["failure"]


def test_airflow_dags_test_runs_the_job(platform, api):
    known = {run["id"] for run in api.items("runs", job=JOB)}
    done = subprocess.run(
        ["airflow", "dags", "test", f"job__{JOB}"],
        env={**neutral_environment(), **platform.environment},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    new = [run for run in api.items("runs", job=JOB) if run["id"] not in known]
    assert [run["state"] for run in new] == ["SUCCEEDED"]


def test_the_schedule_is_airflows(platform):
    """The DAG has the schedule of the job file and a next run that is due by it."""
    answer = httpx.get(
        f"{platform.airflow_url}/api/v2/dags/job__{JOB}",
        headers={"Authorization": f"Bearer {platform.token}"},
        trust_env=False,
    ).json()
    assert answer["is_paused"] is False
    assert "0 6 * * *" in (answer["timetable_summary"] or "")
    assert datetime.fromisoformat(answer["next_dagrun_run_after"]).hour in (
        10,
        11,
    )  # 6:00 in New York


EVERY_MINUTE = """
name: tick
description: Prints the application's help, each minute.
application: flights_delays.py
args: ["--help"]
schedule: "* * * * *"
"""


def test_a_job_runs_on_its_schedule(platform, api):
    """Nobody starts it: Airflow reads the new file, and its minute comes."""
    file = platform.home.jobs / "tick.yaml"
    file.write_text(EVERY_MINUTE)
    try:
        deadline = time.monotonic() + 240
        runs = []
        while not runs:
            assert time.monotonic() < deadline, "its minute never came"
            time.sleep(1)
            runs = [run for run in api.items("runs", job="tick") if run["ended_at"]]
    finally:
        file.unlink()
    assert runs[-1]["state"] == "SUCCEEDED", runs[-1]["failure"]
    assert runs[-1]["dag_run_id"].startswith("scheduled__")
