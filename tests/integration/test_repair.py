"""Repairing a DAG run of several Spark tasks: through the real API, scheduler and workers."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

from dataharbour.platform.supervise import Supervisor

pytestmark = pytest.mark.integration

DAGS = Path(__file__).parent / "dags"
DAG = "mend_me"
READERS = ("scheduler", "dag-processor")  # of the list of DAG folders


@pytest.fixture(scope="module")
def airflow(platform):
    """A client of Airflow, which also has the DAG of this folder."""
    bundles = [
        {
            "name": name,
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(path)},
        }
        for name, path in (("dags-folder", DAGS.parents[2] / "dags"), ("mend", DAGS))
    ]
    file = platform.home.airflow / "airflow.cfg"
    before = file.read_text()
    option = f"dag_bundle_config_list = {json.dumps(bundles)}"
    file.write_text(before.replace("[dag_processor]\n", f"[dag_processor]\n{option}\n"))
    headers = {"Authorization": f"Bearer {platform.token}"}
    try:
        _restart(platform)
        with httpx.Client(
            base_url=f"{platform.airflow_url}/api/v2", headers=headers, trust_env=False, timeout=30
        ) as client:
            _until(lambda: client.get(f"/dags/{DAG}").status_code == 200, "the DAG is parsed")
            yield client
    finally:  # the platform is that of all tests
        file.write_text(before)
        _restart(platform)


def test_only_what_failed_runs_again_in_the_same_dag_run(platform, airflow):
    started = airflow.post(f"/dags/{DAG}/dagRuns", json={"logical_date": None}).json()
    dag_run = f"/dags/{DAG}/dagRuns/{started['dag_run_id']}"
    _until(lambda: _state(airflow, dag_run) == "failed", "the DAG run has failed")
    assert _tasks(airflow, dag_run) == {
        ("first", -1): ("success", 1),
        ("each", 0): ("success", 1),
        ("each", 1): ("failed", 1),
        ("last", -1): ("upstream_failed", 0),
    }
    runs = _runs(platform, started["dag_run_id"])
    assert sorted(run["state"] for run in runs) == ["FAILED", "SUCCEEDED", "SUCCEEDED"]
    [failed] = [run for run in runs if run["state"] == "FAILED"]
    assert failed["failure"]["class"] == "USER_ERROR"

    airflow.post("/variables", json={"key": "mend_me", "value": "--help"}).raise_for_status()
    made = platform.api.start(f"runs/{failed['id']}:repair", {}, key="mend")
    assert platform.api.start(f"runs/{failed['id']}:repair", {}, key="mend")["id"] == made["id"]
    ended = list(platform.api.watch(made["id"], timeout_s=180))[-1]
    assert ended["state"] == "SUCCEEDED", ended["failure"]
    _until(lambda: _state(airflow, dag_run) == "success", "the DAG run has succeeded")
    assert _tasks(airflow, dag_run) == {
        ("first", -1): ("success", 1),
        ("each", 0): ("success", 1),
        ("each", 1): ("success", 2),
        ("last", -1): ("success", 1),
    }
    assert len(_runs(platform, started["dag_run_id"])) == 4, "the three, and the repaired one"
    chain = platform.api.get(f"runs/{failed['id']}/repairs")["items"]
    assert [(run["id"], run["state"]) for run in chain] == [
        (made["id"], "SUCCEEDED"),
        (failed["id"], "FAILED"),
    ]


def _runs(platform, dag_run_id: str) -> list[dict]:
    found = platform.api.items("runs", limit=200)
    return [run for run in found if run["dag_run_id"] == dag_run_id]


def _state(airflow, dag_run: str) -> str:
    return airflow.get(dag_run).json()["state"]


def _tasks(airflow, dag_run: str) -> dict:
    found = airflow.get(f"{dag_run}/taskInstances").json()["task_instances"]
    return {(t["task_id"], t["map_index"]): (t["state"], t["try_number"]) for t in found}


def _restart(platform) -> None:
    supervisor = Supervisor(platform.home)
    supervisor.stop(READERS)
    for name in READERS:
        supervisor.start(name)


def _until(claim, what: str, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.5)
