"""The run engine in figures: accepting, a trivial job, what a client sees how soon, cancelling."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
import yaml
from bench_platform import ROOT, BenchPlatform, bench_platform
from measure import pss_bytes

from dataharbour.platform import launch

API = "/dataharbour/api/v1"
APPLICATIONS = Path(__file__).parent / "applications"
RATE_PER_S = 20
DEFERRED = 100


def jobs(runs: int) -> dict[str, Any]:
    """All figures, on one platform."""
    with bench_platform() as platform:
        platform.set_airflow("dataharbour", "applications", f"{ROOT / 'spark_jobs'}:{APPLICATIONS}")
        platform.set_airflow("dataharbour", "max_active_runs_per_user", "10000")
        _declare(platform, "bench_accept")
        platform.restart_airflow("job__bench_accept")
        found: dict[str, Any] = {}
        for figures in (
            lambda: accepting(platform, seconds=10),
            lambda: trivial(platform, runs=max(runs * 3, 20)),
            lambda: seen(platform, runs=runs),
            lambda: cancelling(platform, runs=max(runs, 20)),
            lambda: waiting(platform),  # last: a hundred tasks are being ended afterwards
        ):
            part = figures()
            print(json.dumps(part), file=sys.stderr)  # whatever becomes of the others
            found |= part
        return found


def accepting(platform: BenchPlatform, *, seconds: int) -> dict[str, Any]:
    """POST to 202 at a fixed rate, beside Airflow's own POST of a DAG run at the same rate."""
    with platform.client() as api:
        for dag in ("job__bench_accept", "bench_empty"):  # only accepting is measured
            api.patch(f"/api/v2/dags/{dag}", json={"is_paused": True}).raise_for_status()
        ours: list[float] = []
        airflow: list[float] = []
        targets: list[tuple[str, dict[str, Any], list[float]]] = [
            (f"{API}/jobs/bench_accept/runs", {}, ours),
            ("/api/v2/dags/bench_empty/dagRuns", {"logical_date": None}, airflow),
        ]
        for path, body, _ in targets:
            _at_rate(platform, path, body, seconds=2)  # warm-up
        for turn in range(4):
            for path, body, taken in targets if turn % 2 else reversed(targets):
                taken += _at_rate(platform, path, body, seconds=seconds / 2)
        for dag in ("job__bench_accept", "bench_empty"):
            api.delete(f"/api/v2/dags/{dag}")
    found = {
        f"POST to 202 at {RATE_PER_S}/s, ms": _percentiles(ours, 1000),
        f"Airflow's own POST at {RATE_PER_S}/s, ms": _percentiles(airflow, 1000),
    }
    platform.restart_airflow("bench_empty")  # the queue of runs that nobody wants is gone
    return found


def trivial(platform: BenchPlatform, *, runs: int) -> dict[str, Any]:
    """POST to SUCCEEDED of `select 1` on the warm server: with time between them, and without."""
    body = {"application": "bench_sql.py", "backend": "connect"}
    found = {}
    for name, pause_s in (("one every few seconds", 3), ("one upon the other", 0)):
        taken = []
        for _ in range(runs + 2):  # the first two warm up
            time.sleep(pause_s)
            taken.append(run_to_end(platform, "runs", body))
        found[f"trivial SQL on connect, {name}, POST to SUCCEEDED, s"] = _percentiles(taken[2:])
    return found


def seen(platform: BenchPlatform, *, runs: int) -> dict[str, Any]:
    """How old a log line, and a change of state, is when a client of the stream has it."""
    lines: list[float] = []
    states: list[float] = []
    for _ in range(runs):
        body = {"application": "bench_ticks.py", "args": ["4"], "backend": "connect"}
        with platform.client() as api:
            run = api.post(f"{API}/runs", json=body).json()
        threads = [
            threading.Thread(target=_follow, args=(platform, run["id"], what, hear))
            for what, hear in (
                ("logs", lambda now, item: _heard_line(lines, now, item)),
                ("events", lambda now, item: _heard_event(states, now, item)),
            )
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {
        "log line, printed to seen by a client, s": _percentiles(lines),
        "state, changed to seen by a client, s": _percentiles(states),
    }


def cancelling(platform: BenchPlatform, *, runs: int) -> dict[str, Any]:
    """POST :cancel with no grace, to no process of the driver being left."""
    taken = []
    for _ in range(runs):
        with platform.client() as api:
            body = {"application": "bench_ticks.py", "args": ["120"], "backend": "connect"}
            run = api.post(f"{API}/runs", json=body).json()
            while not api.get(f"{API}/runs/{run['id']}/logs").json()["items"]:
                time.sleep(0.1)
            folder = platform.home.root / "runs"
            began = time.monotonic()
            api.post(f"{API}/runs/{run['id']}:cancel", json={"grace_s": 0}).raise_for_status()
            while _working_below(folder):
                time.sleep(0.02)
            taken.append(time.monotonic() - began)
            while api.get(f"{API}/runs/{run['id']}").json()["state"] == "RUNNING":
                time.sleep(0.1)
    return {"cancel (grace 0) to driver dead, s": _percentiles(taken)}


def waiting(platform: BenchPlatform) -> dict[str, Any]:
    """What so many deferred runs cost: the triggerer's memory, and the workers' slots."""
    triggerer = list(launch.marked(str(platform.home.root), service="triggerer"))
    before = pss_bytes(triggerer)
    with platform.client() as api:
        runs = "/api/v2/dags/bench_deferred/dagRuns"
        for _ in range(DEFERRED):
            body = {"logical_date": None, "conf": {"seconds": "900"}}
            api.post(runs, json=body).raise_for_status()
        instances = f"{runs}/~/taskInstances"
        deadline = time.monotonic() + 600
        while (deferred := _count(api, instances, "deferred")) < DEFERRED:
            if time.monotonic() > deadline:
                raise TimeoutError(f"after ten minutes {deferred} of {DEFERRED} runs are deferred")
            time.sleep(1)
        time.sleep(15)
        running = _count(api, instances, "running")
        after = pss_bytes(list(launch.marked(str(platform.home.root), service="triggerer")))
        api.delete("/api/v2/dags/bench_deferred")
    return {
        "deferred runs": deferred,
        "worker slots that they hold": running,
        "triggerer with none, MB": round(before / 1e6),
        "triggerer with them, MB": round(after / 1e6),
    }


def run_to_end(platform: BenchPlatform, path: str, body: dict[str, Any]) -> float:
    """Start a run over REST and wait for it; seconds from the request to SUCCEEDED."""
    with platform.client() as api:
        began = time.monotonic()
        answer = api.post(f"{API}/{path}", json=body)
        answer.raise_for_status()
        run = answer.json()
        while run["state"] in ("QUEUED", "RUNNING"):
            run = api.get(f"{API}/runs/{run['id']}", params={"wait": 10}).json()
        seconds = time.monotonic() - began
        if run["state"] != "SUCCEEDED":
            raise SystemExit(f"the run failed: {run['failure']}")
        return seconds


def _declare(platform: BenchPlatform, name: str) -> None:
    job = {"description": "Is never run.", "application": "bench_sql.py"}
    (platform.home.root / "jobs" / f"{name}.yaml").write_text(yaml.safe_dump(job))


def _at_rate(
    platform: BenchPlatform, path: str, body: dict[str, Any], *, seconds: float
) -> list[float]:
    """Seconds that each request took; they start on time, however long the others take."""
    with platform.client() as api, ThreadPoolExecutor(16) as pool:

        def post(_: int) -> float:
            began = time.monotonic()
            api.post(path, json=body).raise_for_status()
            return time.monotonic() - began

        began, sent = time.monotonic(), []
        for number in range(int(seconds * RATE_PER_S)):
            time.sleep(max(began + number / RATE_PER_S - time.monotonic(), 0))
            sent.append(pool.submit(post, number))
        return [each.result() for each in sent]


def _follow(
    platform: BenchPlatform, run_id: str, what: str, hear: Callable[[float, dict[str, Any]], None]
) -> None:
    headers = {"Accept": "text/event-stream"}
    with (
        platform.client() as api,
        api.stream("GET", f"{API}/runs/{run_id}/{what}", headers=headers) as stream,
    ):
        stream.raise_for_status()
        for line in stream.iter_lines():
            if line.startswith("data:"):
                told = json.loads(line.removeprefix("data:"))
                for item in told.get("items", [told]):
                    hear(time.time(), item)


def _heard_line(found: list[float], now: float, item: dict[str, Any]) -> None:
    text = str(item.get("line", ""))
    if text.startswith("tick "):
        found.append(now - float(text.split()[1]))


def _heard_event(found: list[float], now: float, item: dict[str, Any]) -> None:
    if item.get("kind") == "run.changed" and item.get("new") in ("RUNNING", "SUCCEEDED"):
        from datetime import datetime

        at = datetime.fromisoformat(item["at"]).timestamp()
        if item["new"] != "RUNNING" or now - at < 5:  # older ones came with the connection
            found.append(now - at)


def _working_below(folder: Path) -> bool:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX" and os.readlink(entry / "cwd").startswith(str(folder)):
                return True
        except OSError:
            continue
    return False


def _count(api: httpx.Client, path: str, state: str) -> int:
    return int(api.get(path, params={"state": state, "limit": 1}).json()["total_entries"])


def _percentiles(values: list[float], factor: float = 1.0) -> str:
    cuts = quantiles(values, n=20, method="inclusive")
    shown = [cuts[9] * factor, cuts[18] * factor, max(values) * factor]
    digits = 0 if factor > 1 else 2
    p50, p95, most = (f"{value:.{digits}f}" for value in shown)
    return f"p50 {p50}, p95 {p95}, most {most} (n={len(values)})"
