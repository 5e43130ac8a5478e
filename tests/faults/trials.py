"""Kill one component of a running platform at one point of a run, and look at what became of it.

A trial passes when the run that was accepted ended SUCCEEDED, user code started at most once per
attempt, and the table holds exactly the rows of the last attempt. `POINTS` has them all; the tests
take a sample, `./harbour bench faults` as many as it is told.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import yaml
from gates import AIRFLOW_GATES, Gate, Gates, Waiter, children_of, parent_of
from pyarrow import parquet

from dataharbour.db.engine import connector
from dataharbour.errors import Unavailable
from dataharbour.jobs.driver.process import is_running, start_ticks
from dataharbour.jobs.model import Run
from dataharbour.jobs.output import read_record
from dataharbour.jobs.reconcile import QUIET_FOR
from dataharbour.jobs.states import terminal
from dataharbour.jobs.store import RunStore
from dataharbour.operators.spark_job import PICK_UPS
from dataharbour.platform import credentials, launch, ports
from dataharbour.storage.s3 import S3Store
from dataharbour.testing.adjusted_platform import AdjustedPlatform, adjusted_platform

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LANES = 5  # trials that disturb nobody else go on beside each other, each with a job of its own
DEFERRED = "faults_deferred"
RETRIES = 1
END_WITHIN_S = 240.0
SETTINGS = {
    ("core", "parallelism"): "8",
    # A killed worker is noticed after so many seconds without a heartbeat; the default is 300.
    ("scheduler", "task_instance_heartbeat_timeout"): "20",
    ("scheduler", "task_instance_heartbeat_timeout_detection_interval"): "3",
    ("workers", "min_heartbeat_interval"): "2",
}


@dataclass(frozen=True)
class Point:
    """Where a run is interrupted.

    Attributes:
        name: what dies, and when.
        strike: does it, on a trial that has been set up; returns once it is done.
        gate: closed before the run is submitted, of the database `dataharbour` or `airflow`.
        seconds: how long the application works.
        deferred: whether the run waits in the triggerer.
        alone: whether a service is killed, which every run feels.
        attempts: how many attempts the run may have taken.
    """

    name: str
    strike: Callable[[Trial], None]
    gate: str | None = None
    seconds: float = 0.2
    deferred: bool = False
    alone: bool = False
    attempts: tuple[int, ...] = (1,)


@dataclass
class Verdict:
    """What was seen of one trial; an empty `wrong` is a pass."""

    point: str
    seconds: float = 0.0
    attempts: int = 0
    state: str = ""
    wrong: list[str] = field(default_factory=list)


@dataclass
class Bench:
    """A platform that is made to be broken.

    Attributes:
        starts: the file in which the application writes that it was started.
    """

    platform: AdjustedPlatform
    store: RunStore
    run_gates: Gates
    airflow_gates: Gates
    starts: Path

    def pids(self, service: str) -> list[int]:
        """The processes of a service."""
        return list(launch.marked(str(self.platform.home.root), service=service))

    def kill(self, service: str) -> None:
        """SIGKILL to a service, with all its processes."""
        for pid in self.pids(service):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def attempts_of(self, trial: str) -> Counter[str]:
        """How often user code was started, by attempt."""
        text = self.starts.read_text() if self.starts.exists() else ""
        return Counter(line.split()[1] for line in text.splitlines() if line.split()[0] == trial)

    def table(self, name: str) -> list[dict[str, Any]]:
        """What a reader of a table's record sees."""
        keys = credentials.load(self.platform.home.secrets).s3["spark"]
        port = ports.load(self.platform.home.run / "ports.json")["s3"]
        lake = S3Store(
            "lake",
            endpoint_url=f"http://127.0.0.1:{port}",
            access_key=keys[0],
            secret_key=keys[1],
            region="us-east-1",
        )
        record = read_record(lake, name)
        files = [lake.read(f"{name}/{file}") for file in record.files] if record else []
        return [row for data in files for row in parquet.read_table(BytesIO(data)).to_pylist()]


class Trial:
    """One run that is interrupted."""

    def __init__(self, bench: Bench, point: Point, lane: int) -> None:
        self.bench = bench
        self.point = point
        self.job = job_of(lane)
        self.gate: Gate | None = None
        self.name = secrets.token_hex(6)
        self._client = ThreadPoolExecutor(1)
        self._answer: Future[UUID] | None = None

    @property
    def table(self) -> str:
        """The table that the run publishes."""
        return f"gold/{DEFERRED if self.point.deferred else self.job}"

    def submit(self) -> None:
        """Ask for the run as a careful client does: with a key, again until it is answered."""
        ask = self._post_to_airflow if self.point.deferred else self._post
        self._answer = self._client.submit(ask)

    def run(self) -> Run:
        """The run, once its request was answered."""
        assert self._answer is not None, "submit it first"
        return self.bench.store.get(self._answer.result(timeout=END_WITHIN_S))

    def waiter(self) -> Waiter:
        """Who has come to the gate."""
        assert self.gate is not None, "the point has a gate"
        return self.gate.wait()

    def until_started(self) -> str:
        """Wait until user code runs; its attempt."""
        return _until(lambda: next(iter(self.bench.attempts_of(self.name)), None), 90)

    def supervisor(self) -> int:
        """The process that supervises the run's driver."""
        external_id = self.bench.store.wait(self.run().id, timeout_s=0).external_id
        return _until(lambda: external_id and int(external_id.split(":")[1]), 10)

    def end(self) -> Run:
        """Wait for the end of the run."""
        deadline = time.monotonic() + END_WITHIN_S
        while not terminal((run := self._look()).detail):
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return run

    def close(self) -> None:
        """Give the client's thread back."""
        self._client.shutdown(wait=False, cancel_futures=True)

    def _look(self) -> Run:
        deadline = time.monotonic() + END_WITHIN_S
        while True:
            try:
                return self.run()
            except (Unavailable, psycopg.OperationalError):  # the database was what was killed
                assert time.monotonic() < deadline, "the database did not come back"
                time.sleep(0.5)

    def _post(self) -> UUID:
        platform = self.bench.platform
        params = {"starts": str(self.bench.starts), "trial": self.name}
        body = {"params": {**params, "seconds": str(self.point.seconds)}}
        headers = {
            "Authorization": f"Bearer {platform.token}",
            "Idempotency-Key": f"trial-{self.name}",
        }
        url = f"{platform.url}/api/v1/jobs/{self.job}/runs"
        return UUID(
            _answered(lambda: httpx.post(url, json=body, headers=headers, timeout=60))["id"]
        )

    def _post_to_airflow(self) -> UUID:
        conf = {
            "starts": str(self.bench.starts),
            "trial": self.name,
            "seconds": str(self.point.seconds),
        }
        body = {"logical_date": None, "dag_run_id": f"trial__{self.name}", "conf": conf}
        url = f"{self.bench.platform.airflow_url}/api/v2/dags/{DEFERRED}/dagRuns"
        headers = {"Authorization": f"Bearer {self.bench.platform.token}"}
        _answered(lambda: httpx.post(url, json=body, headers=headers, timeout=60))
        found = _until(
            lambda: self.bench.store.find(dag_id=DEFERRED, dag_run_id=f"trial__{self.name}"), 90
        )
        return found.id


def _answered(ask: Callable[[], httpx.Response]) -> dict[str, Any]:
    """Ask until somebody answers; 409 of Airflow is its answer to a repeated request."""
    deadline = time.monotonic() + END_WITHIN_S
    while True:
        try:
            answer = ask()
        except httpx.HTTPError:
            answer = None
        if answer is not None and (answer.is_success or answer.status_code == 409):
            body: dict[str, Any] = answer.json()
            return body
        said = answer.text[:300] if answer is not None else "no answer"
        assert time.monotonic() < deadline, said
        assert answer is None or answer.status_code in {429, 500, 502, 503}, said
        time.sleep(0.5)


def _until(look: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(Exception):
            if found := look():
                return found
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(0.05)


# --- the strikes --------------------------------------------------------------------------------


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _at_gate(*, rolled_back: bool, parents: int = 0) -> Callable[[Trial], None]:
    """Kill who waits at the gate.

    Args:
        rolled_back: whether the server forgets the transaction; else it may still complete the
            statement, as when only the answer is lost.
        parents: how many of its parents die as well.
    """

    def strike(trial: Trial) -> None:
        waiter = trial.waiter()
        pids = [waiter.client]
        for _ in range(parents):
            pids.append(parent_of(pids[-1]))
        for pid in reversed(pids):  # a parent that sees its child die would report it
            _kill(pid)
        gate = trial.gate
        assert gate is not None
        if rolled_back:
            gate.roll_back(waiter)
        gate.open()

    return strike


def _every_try_at_gate(trial: Trial) -> None:
    """Kill each try of the task at the gate, until none is left; then have the run looked after."""
    gate = trial.gate
    assert gate is not None
    for _ in range(1 + RETRIES + PICK_UPS):
        waiter = trial.waiter()
        _kill(waiter.client)
        gate.roll_back(waiter)
    gate.open()
    _until(lambda: _task_state(trial) == "failed", 60)
    time.sleep(QUIET_FOR.total_seconds() + 1)
    with trial.bench.platform.client() as api:
        path = "/api/v2/dags/run_reconciliation/dagRuns"
        api.post(path, json={"logical_date": None}).raise_for_status()


def _api_at_gate(trial: Trial) -> None:
    """Kill the API server while one of its requests waits at the gate."""
    waiter, gate = trial.waiter(), trial.gate
    assert gate is not None
    trial.bench.kill("api-server")
    gate.roll_back(waiter)
    gate.open()


def _service(name: str, *, when: str) -> Callable[[Trial], None]:
    """Kill a service once the run is `accepted`, `started` or `deferred`."""

    def strike(trial: Trial) -> None:
        if when == "accepted":
            trial.run()
        else:
            trial.until_started()
        if when == "deferred":
            _until(lambda: _task_state(trial) == "deferred", 60)
        trial.bench.kill(name)

    return strike


def _task_state(trial: Trial) -> str | None:
    run = trial.run()
    with trial.bench.platform.client() as api:
        path = f"/api/v2/dags/{run.dag_id}/dagRuns/{run.dag_run_id}/taskInstances/run"
        state: str | None = api.get(path).json().get("state")
        return state


def _supervisor_killed(trial: Trial) -> None:
    trial.until_started()
    _kill(trial.supervisor())


def _application_killed(trial: Trial) -> None:
    trial.until_started()
    for pid in children_of(trial.supervisor()):
        _kill(pid)


def _frozen_past_its_lease(trial: Trial) -> None:
    """Stop the whole driver until it was given up, then let it go on, as one of another host.

    Here it would have been killed; its record is changed so that nobody knows where it is.
    """
    first = trial.until_started()
    supervisor = trial.supervisor()
    ticks = start_ticks(supervisor)
    pids = [supervisor, *children_of(supervisor)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    with psycopg.connect(trial.bench.run_gates.conninfo, autocommit=True) as connection:
        connection.execute(
            "update public.attempt set external_id = 'elsewhere:1:1' || "
            "coalesce(substring(external_id from '@.*'), '') where id = %s",
            [first],
        )
    _until(lambda: trial.run().attempt > 1, 120)
    assert is_running(supervisor, ticks), "a driver of another host is not killed"
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    _until(lambda: not is_running(supervisor, ticks), 60)


POINTS = (
    Point("API server, before the row is written", _api_at_gate, "run inserted", alone=True),
    Point("API server, before Airflow has the run", _api_at_gate, "dag run inserted", alone=True),
    Point("API server, Airflow has it, unanswered", _api_at_gate, "run queued", alone=True),
    Point("scheduler, right after the answer", _service("scheduler", when="accepted"), alone=True),
    Point("task, before the attempt", _at_gate(rolled_back=True), "attempt inserted"),
    Point("task, driver started, not recorded", _at_gate(rolled_back=True), "attempt recorded"),
    Point(
        "worker and task, driver started, not recorded",
        _at_gate(rolled_back=True, parents=1),
        "attempt recorded",
    ),
    Point(
        "driver, before its claim", _at_gate(rolled_back=True), "attempt claimed", attempts=(1, 2)
    ),
    Point(
        "driver, claimed, answer lost",
        _at_gate(rolled_back=False),
        "attempt claimed",
        attempts=(1, 2),
    ),
    Point("driver, user code runs", _supervisor_killed, seconds=20, attempts=(2,)),
    Point("application, user code runs", _application_killed, seconds=20, attempts=(2,)),
    Point(
        "driver, before its last word",
        _at_gate(rolled_back=True),
        "attempt succeeded",
        attempts=(2,),
    ),
    Point("driver, last word unanswered", _at_gate(rolled_back=False), "attempt succeeded"),
    Point("task, before publication", _at_gate(rolled_back=True), "run finalizing"),
    Point("task, published, not noted", _at_gate(rolled_back=True), "attempt published"),
    Point("task, published, run not ended", _at_gate(rolled_back=True), "run succeeded"),
    Point("task, every try, before publication", _every_try_at_gate, "run finalizing"),
    Point("task, every try, published, not noted", _every_try_at_gate, "attempt published"),
    Point("worker and task, run not ended", _at_gate(rolled_back=True, parents=1), "run succeeded"),
    Point(
        "scheduler, user code runs", _service("scheduler", when="started"), alone=True, seconds=4
    ),
    Point(
        "API server, user code runs", _service("api-server", when="started"), alone=True, seconds=4
    ),
    Point(
        "PostgreSQL, user code runs", _service("postgres", when="started"), alone=True, seconds=6
    ),
    Point(
        "triggerer, run deferred",
        _service("triggerer", when="deferred"),
        alone=True,
        seconds=12,
        deferred=True,
    ),
    Point(
        "scheduler, run deferred",
        _service("scheduler", when="deferred"),
        alone=True,
        seconds=12,
        deferred=True,
    ),
    Point("driver frozen past its lease", _frozen_past_its_lease, seconds=8, attempts=(2,)),
)


# --- a trial ------------------------------------------------------------------------------------


def job_of(lane: int) -> str:
    """The job of a lane."""
    return f"faults_probe_{lane}"


def attempt(bench: Bench, point: Point, *, lane: int = 0) -> Verdict:
    """Carry one trial out; the platform is whole again afterwards."""
    began = time.monotonic()
    verdict = Verdict(point.name)
    trial = Trial(bench, point, lane)
    with _closed(bench, trial) as gate:
        trial.gate = gate
        try:
            trial.submit()
            point.strike(trial)
        except (AssertionError, TimeoutError) as error:
            verdict.wrong.append(f"not interrupted: {error}")
        finally:
            if gate is not None:
                gate.open()
        try:
            run = trial.end()
        except AssertionError as error:  # never accepted
            return replace(verdict, wrong=[*verdict.wrong, str(error)])
        finally:
            trial.close()
    verdict.seconds = time.monotonic() - began
    verdict.attempts, verdict.state = run.attempt, f"{run.detail}"
    verdict.wrong += list(_wrong(trial, run))
    return verdict


def _wrong(trial: Trial, run: Run) -> Iterator[str]:
    bench = trial.bench
    starts = bench.attempts_of(trial.name)
    yield from (f"attempt {id} started {n} times" for id, n in starts.items() if n > 1)
    if run.detail != "SUCCEEDED":
        yield f"the run is {run.detail}: {run.failure}"
        return
    if run.attempt not in trial.point.attempts:
        yield f"{run.attempt} attempts"
    newest = bench.store.wait(run.id, timeout_s=0).attempt_id
    expected = [{"trial": trial.name, "attempt": str(newest)}]
    if (rows := bench.table(trial.table)) != expected:
        yield f"the table holds {rows}, not {expected}"
    ends = [
        e for e in bench.store.events(run.id) if e.kind == "run.changed" and e.new == run.detail
    ]
    if len(ends) != 1:
        yield f"it ended {len(ends)} times"


@contextmanager
def _closed(bench: Bench, trial: Trial) -> Iterator[Gate | None]:
    name = trial.point.gate
    if name is None:
        yield None
        return
    gates = bench.airflow_gates if name in AIRFLOW_GATES else bench.run_gates
    with gates.closed(name, trial=trial.name) as gate:
        yield gate


@contextmanager
def breakable_platform() -> Iterator[Bench]:
    """A platform with gates, the probe as a declared job, and short patience with workers."""
    options: Mapping[tuple[str, str], str] = {
        **SETTINGS,
        ("dataharbour", "applications"): f"{ROOT / 'spark_jobs'}:{HERE / 'applications'}",
    }
    with adjusted_platform(
        ROOT, dags=HERE / "dags", wanted_dag=DEFERRED, options=options
    ) as platform:
        home = platform.home
        for lane in range(LANES):
            document = yaml.safe_dump(_job(job_of(lane)))
            (home.root / "jobs" / f"{job_of(lane)}.yaml").write_text(document)
        for lane in range(LANES):
            platform.wait_for_dag(f"job__{job_of(lane)}")
        with platform.client() as api:
            slots = {"pool": "spark_drivers", "slots": 2 * LANES, "include_deferred": True}
            api.patch("/api/v2/pools/spark_drivers", json=slots).raise_for_status()
        secret = credentials.load(home.secrets)
        port = ports.load(home.run / "ports.json")["postgres"]
        superuser = f"host=127.0.0.1 port={port} user=postgres password={secret.postgres_superuser}"
        yield Bench(
            platform=platform,
            store=RunStore(connector(f"{superuser} dbname=dataharbour"), actor="trial"),
            run_gates=Gates.install(superuser, "dataharbour"),
            airflow_gates=Gates.install(superuser, "airflow"),
            starts=home.root / "starts",
        )


def _job(name: str) -> dict[str, Any]:
    return {
        "description": "Stages one row that says which attempt wrote it.",
        "application": "faults_probe.py",
        "args": [
            f"{{output}}/gold/{name}",
            "{params.starts}",
            "{params.trial}",
            "{params.seconds}",
        ],
        "params": {param: {"type": "string"} for param in ("starts", "trial", "seconds")},
        "retries": RETRIES,
        "retry_delay_s": 1,
        "max_concurrent_runs": 4,
        "outputs": [{"table": f"gold/{name}"}],
    }
