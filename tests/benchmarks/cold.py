"""The cold lane: runs on the backend `local`, beside what a user would use instead.

A short job by three lanes, interleaved on one platform: our run by REST with the profile `short`,
`spark-submit` of the same file without any setting, and the plain `SparkSubmitOperator` in a DAG
of its own. And work of growing length with either profile beside `spark-submit`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bare
from bench_platform import BenchPlatform, bench_platform
from jobs import run_to_end
from measure import Spread, in_turn, ratio, spread, timed

from dataharbour.jobs.backends.names import Profile

OPERATOR_DAG = "bench_spark_submit"
GOAL = 0.6
LONG = Path(__file__).parent / "applications" / "bench_long.py"
ROUNDS = (1, 4, 16)


def cold(runs: int) -> dict[str, Any]:
    """Seconds of each lane, and ours as a ratio of the two others."""
    with bench_platform() as platform:
        _connection(platform)
        raw, output = bare.flights()
        beside = output.with_name("ours")
        beside.mkdir(exist_ok=True)
        beside.chmod(0o777)  # the driver has an account of its own
        from_files = ["--raw", raw.as_uri(), "--output"]
        on_files = _local(bare.FLIGHTS, [*from_files, beside.as_uri()], Profile.SHORT)
        to_the_lake = _local(bare.FLIGHTS, [*from_files, "{output}"], Profile.SHORT)
        _have_archive(platform, to_the_lake)
        taken = in_turn(
            {
                "bare": lambda: timed(bare.submit_flights),
                "operator": lambda: by_operator(platform),
                "ours": lambda: run_to_end(platform, "runs", on_files),
                "to the lake": lambda: run_to_end(platform, "runs", to_the_lake),
            },
            runs,
        )
    peer, operator, ours, lake = map(spread, taken.values())
    return {
        "bare spark-submit --master local[2], s": peer,
        "SparkSubmitOperator in its own DAG, POST to success, s": operator,
        "ours, backend local, profile short, POST to SUCCEEDED, s": ours,
        f"ratio to spark-submit (goal {GOAL})": ratio(ours, peer),
        f"ratio to SparkSubmitOperator (goal {GOAL})": ratio(ours, operator),
        "ours, with the output in the lake, s": lake,
    }


def profiles(runs: int) -> dict[str, Any]:
    """Work of growing length: seconds of `spark-submit`, and either profile as a ratio of it."""
    found: dict[str, Any] = {}
    with bench_platform() as platform:
        platform.set_airflow("dataharbour", "applications", str(LONG.parent))
        platform.restart_airflow("bench_empty")
        _have_archive(platform, _local(LONG, ["1"], Profile.SHORT))
        for rounds in ROUNDS:
            peer, *ours = _long_lanes(platform, str(rounds), runs)
            work = f"{rounds} rounds of work"
            found[f"{work}, spark-submit, s"] = peer
            for profile, taken in zip(Profile, ours, strict=True):
                found[f"{work}, profile {profile}, s"] = taken
                found[f"{work}, profile {profile}, ratio"] = ratio(taken, peer)
    return found


def _long_lanes(platform: BenchPlatform, rounds: str, runs: int) -> list[Spread]:
    """Of `spark-submit`, then of each profile."""

    def submit() -> float:
        return timed(lambda: bare.spark_submit(LONG, rounds))

    def ours(profile: Profile) -> float:
        return run_to_end(platform, "runs", _local(LONG, [rounds], profile))

    lanes: dict[str, Callable[[], float]] = {"bare": submit}
    lanes |= {profile: partial(ours, profile) for profile in Profile}
    return [spread(taken) for taken in in_turn(lanes, runs).values()]


def by_operator(platform: BenchPlatform) -> float:
    """Trigger the DAG of the plain operator and wait for its end."""
    raw, output = bare.flights()
    shutil.rmtree(output, ignore_errors=True)
    conf = {
        "application": str(bare.FLIGHTS),
        "raw": raw.as_uri(),
        "output": output.as_uri(),
        "java": bare.java_home(),
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


def _local(application: Path, args: list[str], profile: Profile) -> dict[str, Any]:
    return {
        "application": application.name,
        "args": args,
        "conf": {"spark.driver.cores": 2},
        "backend": "local",
        "profile": profile,
    }


def _connection(platform: BenchPlatform) -> None:
    body = {"connection_id": "bench_spark", "conn_type": "spark", "host": "local[2]"}
    with platform.client() as api:
        api.post("/api/v2/connections", json=body).raise_for_status()


def _have_archive(platform: BenchPlatform, body: dict[str, Any]) -> None:
    """Made beside the first run, which misses it; a Java that makes none says so in a file."""
    run_to_end(platform, "runs", body)
    folder, limit = platform.home.root / "cache" / "spark-classes", time.monotonic() + 600
    while not [*folder.glob("*.jsa"), *folder.glob("*.refused")]:
        if time.monotonic() > limit:
            raise SystemExit(f"no archive of classes was made: see {folder}/training.log")
        time.sleep(1)
