"""The cold lane: the flights job on the backend `local`, beside what a user would use instead.

Three lanes, interleaved on one platform: our run by REST with the profile `short`, `spark-submit`
of the same file without any setting, and the plain `SparkSubmitOperator` in a DAG of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from os import environ
from pathlib import Path
from typing import Any

from bench_platform import ROOT, BenchPlatform, bench_platform
from jobs import run_to_end
from measure import spread, timed

APPLICATION = ROOT / "spark_jobs" / "flights_delays.py"
OPERATOR_DAG = "bench_spark_submit"
GOAL = 0.6


def cold(runs: int) -> dict[str, Any]:
    """Seconds of each lane, and ours as a ratio of the two others."""
    with bench_platform() as platform:
        _connection(platform)
        lanes: dict[str, Callable[[], float]] = {
            "bare": lambda: timed(bare_spark_submit),
            "operator": lambda: by_operator(platform),
            "ours": lambda: run_to_end(platform, "runs", _body()),
        }
        run_to_end(platform, "runs", _body())  # misses the archive of classes, and has it made
        _wait_for_archive(platform.home.root)
        taken: dict[str, list[float]] = {name: [] for name in lanes}
        for turn in range(runs + 1):  # the first of each is a warm-up
            for name in list(lanes) if turn % 2 else reversed(list(lanes)):
                taken[name].append(lanes[name]())
    ours, bare, operator = (spread(taken[name][1:]) for name in ("ours", "bare", "operator"))
    return {
        "bare spark-submit --master local[2], s": bare,
        "SparkSubmitOperator in its own DAG, POST to success, s": operator,
        "ours, backend local, profile short, POST to SUCCEEDED, s": ours,
        f"ratio to spark-submit (goal {GOAL})": round(ours.median / bare.median, 2),
        f"ratio to SparkSubmitOperator (goal {GOAL})": round(ours.median / operator.median, 2),
    }


def bare_spark_submit() -> None:
    """The same file and data, from a shell, with nothing set."""
    import pyspark

    from dataharbour.platform.java import find_java

    java = find_java()
    assert java is not None, "the platform has one"
    places = _places()
    shutil.rmtree(places["output"], ignore_errors=True)
    subprocess.run(
        [f"{Path(pyspark.__file__).parent}/bin/spark-submit", "--master", "local[2]",
         str(APPLICATION), "--raw", places["raw"].as_uri(), "--output", places["output"].as_uri()],
        env={**environ, "JAVA_HOME": str(java.home)},
        check=True,
        capture_output=True,
    )  # fmt: skip


def by_operator(platform: BenchPlatform) -> float:
    """Trigger the DAG of the plain operator and wait for its end."""
    from dataharbour.platform.java import find_java

    java = find_java()
    assert java is not None, "the platform has one"
    places = _places()
    shutil.rmtree(places["output"], ignore_errors=True)
    conf = {
        "application": str(APPLICATION),
        "raw": places["raw"].as_uri(),
        "output": places["output"].as_uri(),
        "java": str(java.home),
    }
    with platform.client() as api:
        began = time.monotonic()
        path = f"/api/v2/dags/{OPERATOR_DAG}/dagRuns"
        answer = api.post(path, json={"logical_date": None, "conf": conf})
        answer.raise_for_status()
        name = answer.json()["dag_run_id"]
        while (state := api.get(f"{path}/{name}").json()["state"]) in ("queued", "running"):
            time.sleep(0.05)
        if state != "success":
            raise SystemExit(f"{OPERATOR_DAG} is {state}")
        return time.monotonic() - began


def _body() -> dict[str, Any]:
    return {
        "application": APPLICATION.name,
        "args": ["--raw", _places()["raw"].as_uri(), "--output", "{output}"],
        "conf": {"spark.driver.cores": 2},
        "backend": "local",
        "profile": "short",
    }


def _places() -> dict[str, Path]:
    """The same data for all three, in a folder."""
    from dataharbour.platform import sample_data
    from dataharbour.storage.folder import FolderStore

    folder = Path(tempfile.gettempdir()) / "harbour-bench-cold"
    if not (folder / "raw").exists():
        folder.mkdir(exist_ok=True)
        sample_data.land(FolderStore(folder))
    return {"raw": folder / "raw" / "nycflights13", "output": folder / "out"}


def _connection(platform: BenchPlatform) -> None:
    body = {"connection_id": "bench_spark", "conn_type": "spark", "host": "local[2]"}
    with platform.client() as api:
        api.post("/api/v2/connections", json=body).raise_for_status()


def _wait_for_archive(home: Path) -> None:
    """It is made beside the first run; a Java that makes none says so in a file."""
    folder, limit = home / "cache" / "spark-classes", time.monotonic() + 600
    while not [*folder.glob("*.jsa"), *folder.glob("*.refused")]:
        if time.monotonic() > limit:
            raise SystemExit(f"no archive of classes was made: see {folder}/training.log")
        time.sleep(1)
