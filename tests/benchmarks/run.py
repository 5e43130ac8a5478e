"""Measure DataHarbour beside what one would use instead: ./harbour bench [WHAT ...].

Every figure is the median of several interleaved runs, with its extremes. The page
docs/reference/benchmarks.md has the figures of a named machine, and how to repeat them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import bare
from bench_platform import ROOT, BenchPlatform, bench_platform
from cold import cold as measure_cold
from cold import profiles as measure_profiles
from jobs import jobs as measure_jobs
from jobs import run_to_end
from lists import list_figures
from measure import Spread, cpu_seconds, in_turn, pss_bytes, ratio, spread, timed

from dataharbour.testing.running_platform import run_harbour

RUNS = 7
SLEEPS = ("0.05", "0.1", "0.2", "0.5", "1")


def command(_: argparse.Namespace) -> dict[str, Any]:
    """`harbour --help`, and how long the DAG files take to parse."""
    call = [str(ROOT / "harbour"), "--help"]
    helps = [
        timed(lambda: subprocess.run(call, check=True, capture_output=True)) for _ in range(10)
    ]
    return {"harbour --help, s": spread(helps[1:])}


def up(options: argparse.Namespace) -> dict[str, Any]:
    """Start, stop and start again (installed; see the page for a fresh clone)."""
    folder = Path(tempfile.mkdtemp(prefix="harbour-bench-"))
    folder.chmod(0o711)
    home = folder / "home"
    try:
        first = timed(lambda: run_harbour(home, "up", "--no-tour"))
        again, downs = [], []
        for _ in range(options.runs):
            downs.append(timed(lambda: run_harbour(home, "down")))
            again.append(timed(lambda: run_harbour(home, "up", "--no-tour")))
        return {"first up, s": first, "down, s": spread(downs), "second up, s": spread(again)}
    finally:
        run_harbour(home, "destroy", "--yes")
        folder.rmdir()


def trigger(options: argparse.Namespace) -> dict[str, Any]:
    """POST of a DAG run to the success of its one empty task."""
    with bench_platform() as platform:
        return {"POST to success of an empty task, s": trigger_latency(platform, options.runs * 3)}


def curve(options: argparse.Namespace) -> dict[str, Any]:
    """Idle CPU against trigger latency, over the scheduler's idle sleep."""
    found = {}
    with bench_platform() as platform:
        for sleep_s in SLEEPS:
            platform.set_airflow("scheduler", "scheduler_idle_sleep_time", sleep_s)
            platform.restart_airflow("bench_empty")
            latency = trigger_latency(platform, options.runs * 2)
            time.sleep(20)
            found[sleep_s] = {
                "latency, s": latency,
                "idle CPU, % of a core": idle_cpu(platform, options.idle_s / 5),
            }
    return found


def idle(options: argparse.Namespace) -> dict[str, Any]:
    """CPU and memory of the platform when nothing is asked of it but its own schedules."""
    with bench_platform() as platform:
        time.sleep(60)  # the start's own work is over
        cpu = idle_cpu(platform, options.idle_s)
        return {
            "idle CPU, % of a core": round(cpu, 1),
            "over, s": options.idle_s,
            "memory (PSS), GB": round(pss_bytes(platform.pids) / 1e9, 2),
            "processes": len(platform.pids),
        }


def flights(options: argparse.Namespace) -> dict[str, Any]:
    """The flights job by REST on the warm server, beside spark-submit of the same file."""
    with bench_platform() as platform:
        body = {
            "application": "flights_delays.py",
            "args": ["--raw", "{lake}/raw/nycflights13", "--output", "{output}"],
            "backend": "connect",
        }
        taken = in_turn(
            {
                "files": lambda: timed(bare.submit_flights),
                "lake": lambda: timed(lambda: bare.submit_flights_on_the_lake(platform)),
                "ours": lambda: run_to_end(platform, "runs", body),
                "declared": lambda: run_to_end(platform, "jobs/flights_delays/runs", {}),
            },
            options.runs,
        )
        on_files, on_the_lake, plain, whole = map(spread, taken.values())
        return {
            "spark-submit --master local[2], its data in files, s": on_files,
            "the same with its data in the lake, s": on_the_lake,
            "POST to SUCCEEDED on connect, in the lake, without the suite, s": plain,
            "ratio to spark-submit on the lake (goal 0.25)": ratio(plain, on_the_lake),
            "ratio to spark-submit on files": ratio(plain, on_files),
            "POST to SUCCEEDED, with suite and publication, s": whole,
            "which add, s": round(whole.median - plain.median, 2),
        }


def lists(_: argparse.Namespace) -> dict[str, Any]:
    """Pages of the list of runs and the overview, with 100,000 runs in the table."""
    with bench_platform() as platform:
        return list_figures(platform)


def trigger_latency(platform: BenchPlatform, runs: int) -> Spread:
    """Seconds from POST to success, as a client sees it."""
    path = "/api/v2/dags/bench_empty/dagRuns"
    taken = []
    with platform.client() as api:
        for _ in range(runs + 2):
            began = time.monotonic()
            run_id = api.post(path, json={"logical_date": None}).json()["dag_run_id"]
            while api.get(f"{path}/{run_id}").json()["state"] not in ("success", "failed"):
                time.sleep(0.02)
            taken.append(time.monotonic() - began)
            time.sleep(0.3)
    return spread(taken[2:])


def idle_cpu(platform: BenchPlatform, seconds: float) -> float:
    """Percent of one core, averaged."""
    before, began = cpu_seconds(platform.pids), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(platform.pids) - before) / (time.monotonic() - began)


def jobs(options: argparse.Namespace) -> dict[str, Any]:
    """The run engine: accepting, a trivial job, news of a run, cancelling, waiting."""
    return measure_jobs(options.runs)


def cold(options: argparse.Namespace) -> dict[str, Any]:
    """The flights job in a Spark of its own, beside spark-submit and the provider's operator."""
    return measure_cold(options.runs)


def profiles(options: argparse.Namespace) -> dict[str, Any]:
    """Work of growing length with either profile of a run's own Spark, beside spark-submit."""
    return measure_profiles(options.runs)


def faults(options: argparse.Namespace) -> dict[str, Any]:
    """Kill components at every point of a run; only when it is asked for by name."""
    from faults import faults as break_often

    return break_often(options.trials)


BENCHES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "command": command,
    "up": up,
    "trigger": trigger,
    "flights": flights,
    "idle": idle,
    "curve": curve,
    "lists": lists,
    "jobs": jobs,
    "cold": cold,
    "profiles": profiles,
    "faults": faults,
}
ON_REQUEST = {"faults"}  # an hour


def main() -> None:
    """Run the benchmarks that were asked for and print their figures."""
    parser = argparse.ArgumentParser(prog="harbour bench", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"of {', '.join(BENCHES)}; all when none is given")
    parser.add_argument("--runs", type=int, default=RUNS, help="counted runs of each (default 7)")
    parser.add_argument("--idle-s", type=float, default=300, help="seconds of idling (default 300)")
    parser.add_argument("--trials", type=int, default=200, help="of faults (default 200)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    unknown = set(options.what) - set(BENCHES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(BENCHES)}")
    results: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {machine.machine()}, Python {machine.python_version()}"
    }
    for name in options.what or [name for name in BENCHES if name not in ON_REQUEST]:
        print(f"measuring {name} …", file=sys.stderr)
        results[name] = BENCHES[name](options)
        if options.output == "text":
            print(f"\n{name}")
            for figure, value in results[name].items():
                print(f"  {figure:55} {value}")
    if options.output == "json":
        print(json.dumps(results, default=lambda value: value.__dict__, indent=1))


if __name__ == "__main__":
    main()
