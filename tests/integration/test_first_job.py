"""The first job on the running platform: four ways to start it, and what the lake then holds."""

from __future__ import annotations

import os
import subprocess
import time
from datetime import datetime

import httpx
import pyarrow.dataset as ds
import pytest
from pyarrow import fs

pytestmark = pytest.mark.integration

JOB = "flights_delays"


@pytest.fixture
def api(platform):
    with httpx.Client(
        base_url=f"{platform.url}/api/v1",
        headers={"Authorization": f"Bearer {platform.token}"},
        timeout=60,
        trust_env=False,
    ) as client:
        yield client


def ended(api, run: dict, timeout_s: float = 300.0) -> dict:
    deadline = time.monotonic() + timeout_s
    while run["state"] in ("QUEUED", "RUNNING"):
        assert time.monotonic() < deadline, run
        run = api.get(f"runs/{run['id']}", params={"wait": 10}).json()
    return run


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
def first_run(platform):
    with httpx.Client(
        base_url=f"{platform.url}/api/v1",
        headers={"Authorization": f"Bearer {platform.token}"},
        timeout=60,
        trust_env=False,
    ) as client:
        answer = client.post(f"jobs/{JOB}/runs", json={"labels": {"from": "tests"}})
        assert answer.status_code == 202, answer.text
        return ended(client, answer.json())


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

    keys = credentials.load_or_create(platform.home.secrets).s3["admin"]
    s3 = object_store.client(platform.environment["AWS_ENDPOINT_URL"], keys)
    staged = s3.list_objects_v2(Bucket="lake", Prefix=".attempts/").get("Contents", [])
    assert [o["Key"] for o in staged if not o["Key"].endswith("/")] == []


def test_the_drivers_log_is_there_to_the_last_line(first_run, api):
    page = api.get(f"runs/{first_run['id']}/logs").json()
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
    key = {"Idempotency-Key": f"test-{time.time_ns()}"}
    body = {"labels": {"n": "1"}}
    first = api.post(f"jobs/{JOB}/runs", json=body, headers=key)
    again = api.post(f"jobs/{JOB}/runs", json=body, headers=key)
    other = api.post(f"jobs/{JOB}/runs", json={"labels": {"n": "2"}}, headers=key)
    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 422)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert ended(api, first.json())["state"] == "SUCCEEDED"


def test_a_single_application_runs_on_the_backend_local(platform, api):
    answer = api.post(
        "runs",
        json={
            "application": "flights_delays.py",
            "args": ["--raw", "{lake}/raw/nycflights13", "--output", "{output}"],
            "backend": "local",
        },
    )
    assert answer.status_code == 202, answer.text
    run = ended(api, answer.json())
    assert run["state"] == "SUCCEEDED", run["failure"]


def test_airflow_dags_test_runs_the_job(platform, api):
    known = {run["id"] for run in api.get("runs", params={"job": JOB}).json()["items"]}
    done = subprocess.run(
        ["airflow", "dags", "test", f"job__{JOB}"],
        env={**os.environ, **platform.environment},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    new = [r for r in api.get("runs", params={"job": JOB}).json()["items"] if r["id"] not in known]
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
