"""Real drivers on a real database: what the tests of this folder start and look at."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dataharbour.db.engine import connector
from dataharbour.jobs.backends.start import CHILD
from dataharbour.jobs.driver.spec import DriverSpec
from dataharbour.jobs.model import AttemptGrant, AttemptState, Run, RunRequest
from dataharbour.jobs.store import RunStore

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

NewRun = Callable[..., Run]


@pytest.fixture
def store(database: str) -> RunStore:
    return RunStore(connector(database), actor="test")


@pytest.fixture
def new_run(store: RunStore) -> NewRun:
    """Opens a queued run; each call another DAG run."""
    count = iter(range(1_000))

    def open_run(**request: Any) -> Run:
        return store.open_run(
            RunRequest(**{"application": "job.py", **request}),
            application_sha256="0" * 64,
            dag_id="spark_job",
            dag_run_id=f"manual__{next(count)}",
            task_id="run",
            principal="ana",
            now=NOW,
        )

    return open_run


@dataclass
class Driver:
    """A supervisor that was started, and what can be seen of it."""

    process: subprocess.Popen[bytes]
    grant: AttemptGrant
    folder: Path
    artifacts: Path
    store: RunStore

    def end(self, timeout_s: float = 20) -> AttemptState:
        """Wait for the last word of the attempt."""
        state = self.store.wait(self.grant.run_id, timeout_s=timeout_s)
        assert state.ended, f"still {state.observed}; {self.log()}"
        return state

    def lines(self, stream: str = "stdout") -> list[str]:
        page = self.store.logs(self.grant.run_id)
        return [line.line for line in page.items if line.stream == stream]

    def log(self) -> str:
        return (self.folder / "supervisor.log").read_text()


Launch = Callable[..., Driver]


@pytest.fixture
def launch(
    store: RunStore, new_run: NewRun, driver_database: str, tmp_path: Path
) -> Iterator[Launch]:
    """Starts the supervisor of a small application, without Spark; fields of its spec by name.

    `prefix` is a program that starts the supervisor.
    """
    drivers: list[Driver] = []

    def start(
        source: str,
        *args: str,
        name: str = "job.py",
        grant: AttemptGrant | None = None,
        sha256: str | None = None,
        prefix: Sequence[str] = (),
        **spec: Any,
    ) -> Driver:
        grant = grant or store.start_attempt(new_run().id, backend="plain", now=NOW)
        application = tmp_path / name
        application.write_text(textwrap.dedent(source))
        folder = tmp_path / f"{grant.attempt_id}-{len(drivers)}"
        (folder / "work").mkdir(parents=True)
        artifacts = tmp_path / "artifacts" / folder.name
        sha256 = sha256 or hashlib.sha256(application.read_bytes()).hexdigest()
        values = {
            "conninfo": driver_database,
            "run_id": str(grant.run_id),
            "attempt_id": str(grant.attempt_id),
            "token": grant.token,
            "folder": str(folder),
            "artifacts": str(artifacts),
            "command": [sys.executable, str(CHILD), str(folder), sha256, str(application), *args],
            "environment": {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"},
        }
        DriverSpec(**{**values, **spec}).write(folder / "spec.json")
        with (folder / "supervisor.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *prefix,
                    sys.executable,
                    "-m",
                    "dataharbour.jobs.driver",
                    str(folder / "spec.json"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        driver = Driver(process, grant, folder, artifacts, store)
        drivers.append(driver)
        return driver

    yield start
    for driver in drivers:
        with suppress(subprocess.TimeoutExpired):
            driver.process.wait(3)
        driver.process.kill()
        driver.process.wait()
