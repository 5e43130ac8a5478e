"""Components of a running platform are killed while they carry a run; the run ends once.

A sample; `-m long` takes all points, `./harbour bench faults` each of them many times
(docs/reference/faults.md has the last result).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from trials import DEFERRED, POINTS, Point, attempt, job_of

from dataharbour.platform.names import AIRFLOW_COMPONENTS
from dataharbour.testing.running_platform import neutral_environment

pytestmark = pytest.mark.integration

SAMPLE = {
    "API server, Airflow has it, unanswered",
    "worker and task, driver started, not recorded",
    "driver, claimed, answer lost",
    "driver, last word unanswered",
    "task, published, run not ended",
}


@pytest.mark.parametrize("point", [p for p in POINTS if p.name in SAMPLE], ids=lambda p: p.name)
def test_a_run_that_is_interrupted_ends_once(breakable, point):
    assert attempt(breakable, point).wrong == []


@pytest.mark.long
@pytest.mark.parametrize("point", [p for p in POINTS if p.name not in SAMPLE], ids=lambda p: p.name)
def test_a_run_that_is_interrupted_anywhere_ends_once(breakable, point):
    assert attempt(breakable, point).wrong == []


def test_a_trial_sees_what_started_twice(breakable):
    """The planted fault: user code is started again for the same attempt."""

    def start_it_again(trial) -> None:
        started = trial.until_started()
        with breakable.starts.open("a") as file:
            file.write(f"{trial.name} {started}\n")

    verdict = attempt(breakable, Point("planted", start_it_again))
    assert [wrong for wrong in verdict.wrong if "started 2 times" in wrong]


def test_a_run_outlives_every_component_of_airflow(breakable):
    """Submitted in one terminal, followed there to its end; in the other all four are killed."""
    trial, seconds = f"terminal-{time.time_ns()}", 45
    home = breakable.platform.home.root
    terminal = subprocess.Popen(
        [
            *(sys.executable, "-m", "dataharbour.cli", "job", "submit", job_of(0), "--follow"),
            *("--param", f"starts={breakable.starts}", "--param", f"trial={trial}"),
            *("--param", f"seconds={seconds}"),
        ],
        env={**neutral_environment(), "HARBOUR_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not breakable.attempts_of(trial):
        assert time.monotonic() < deadline, "it did not start"
        time.sleep(0.1)
    for component in AIRFLOW_COMPONENTS:
        before = set(breakable.pids(component))
        breakable.kill(component)
        until = time.monotonic() + 60
        while not (now := set(breakable.pids(component))) or now & before:
            assert time.monotonic() < until, f"{component} did not come back"
            time.sleep(0.2)
        assert terminal.poll() is None, "the run goes on"
    said, _ = terminal.communicate(timeout=240)
    assert terminal.returncode == 0, said
    assert "The run succeeded" in said
    assert list(breakable.attempts_of(trial).values()) == [1]
    [row] = breakable.table(f"gold/{job_of(0)}")
    assert row["trial"] == trial


def test_a_run_that_defers_under_dags_test_is_waited_for(breakable):
    """No component of Airflow has a part in it: `airflow dags test` runs the trigger itself."""
    trial = f"dags-test-{time.time_ns()}"
    conf = {"starts": str(breakable.starts), "trial": trial, "seconds": "6"}
    done = subprocess.run(
        ["airflow", "dags", "test", DEFERRED, "--conf", json.dumps(conf)],
        env={**neutral_environment(), **breakable.platform.environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "running trigger in line" in done.stdout, "it did not defer"
    [row] = breakable.table(f"gold/{DEFERRED}")
    assert row["trial"] == trial
