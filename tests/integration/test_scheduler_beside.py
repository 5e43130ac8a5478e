"""Airflow's own scheduler and triggerer on a database of their own, nothing else of the platform.

What they do by themselves: make the runs of schedules, leave test runs alone, and report missed
deadlines.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg import conninfo, sql

from dataharbour.db.engine import connect
from dataharbour.testing.running_platform import neutral_environment

pytestmark = pytest.mark.integration

TEST_RUNS = int(os.environ.get("TEST_RUNS", "20"))
DAGS = """
from dataharbour.dag_factory import job_dags
from airflow.sdk import DAG, task

globals().update(job_dags())

with DAG("tried", schedule=None):

    @task
    def run():
        import time

        time.sleep(0.05)

    run()
"""
TRY = """
import sys, time
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.definitions import dag as dags

run_task = dags._run_task


def hesitate(**task):
    time.sleep(0.5)  # the moment in which the scheduler could come first
    return run_task(**task)


dags._run_task = hesitate
for _ in range(int(sys.argv[2])):
    dag_run = DagBag(sys.argv[1]).dags["tried"].test()
    [ti] = dag_run.get_task_instances()
    scheduler = "left alone" if ti.queued_by_job_id is None else "taken"
    print("tried:", dag_run.state.value, ti.pool, scheduler, flush=True)
"""
SYNC = """
import sys
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

bundles = DagBundlesManager()
bundles.sync_bundles_to_db()
[bundle] = bundles.get_all_dag_bundles()
bag = BundleDagBag(dag_folder=sys.argv[1], bundle_path=sys.argv[1], bundle_name=bundle.name)
assert not bag.import_errors, bag.import_errors
sync_bag_to_db(bag, bundle.name, None)
"""
UPDATE = """
from airflow.assets.manager import asset_manager
from airflow.models.asset import AssetModel
from airflow.utils.session import create_session
from sqlalchemy import select

with create_session() as session:
    query = select(AssetModel).where(AssetModel.uri == "dataharbour://table/silver/sales")
    asset = session.scalar(query)
    asset_manager.register_asset_change(asset=asset, session=session)
"""
BE_LATE = """
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from airflow._shared.timezones import timezone

with create_session() as session:
    dag = SerializedDagModel.get_dag("job__late", session=session)
    dag.create_dagrun(
        run_id="manual__late", run_after=timezone.utcnow(), run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.REST_API, state=DagRunState.QUEUED, session=session,
    )
"""


@dataclass(frozen=True)
class Beside:
    """An Airflow of which only scheduler and triggerer run."""

    dags: Path
    environment: dict[str, str]
    dataharbour: str
    airflow: str

    def runs(self, job: str) -> list[tuple[str, str | None, str | None]]:
        """How each run of a job came to be, and what it is for."""
        query = (
            "select run_type, to_char(logical_date at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), "
            "partition_key from dag_run where dag_id = %s order by run_after, logical_date"
        )
        with psycopg.connect(self.airflow) as connection:
            return connection.execute(query, [f"job__{job}"]).fetchall()

    def declare(self, **jobs: dict[str, object]) -> None:
        """Declare jobs, and have Airflow know them."""
        for name, fields in jobs.items():
            document = {"description": "A test.", "application": "app.py", **fields}
            file = self.dags.parent / "include/jobs" / f"{name}.yaml"
            file.write_text(yaml.safe_dump(document))
        self.python(SYNC)

    def python(self, code: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, str(self.dags), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout


@pytest.fixture
def beside(tmp_path, postgres: str, database: str) -> Iterator[Beside]:
    name = f"a_{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    environment = _environment(tmp_path, postgres, database, name)
    airflow_db = conninfo.make_conninfo(postgres, dbname=name)
    made = Beside(tmp_path / "dags", environment, database, airflow_db)
    for folder in ("dags", "include/jobs", "applications"):
        (tmp_path / folder).mkdir(parents=True)
    (made.dags / "all.py").write_text(DAGS)
    airflow = [sys.executable, "-W", "ignore", "-m", "airflow"]
    quiet = {"env": made.environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*airflow, "db", "migrate"], check=True, timeout=300, **quiet)
    services = [
        subprocess.Popen([*airflow, service, "--skip-serve-logs"], start_new_session=True, **quiet)
        for service in ("scheduler", "triggerer")
    ]
    try:
        _wait_for_scheduler(airflow_db)
        yield made
    finally:
        for service in services:
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()
        with psycopg.connect(postgres, autocommit=True) as admin:
            drop = sql.SQL("drop database {} with (force)")
            admin.execute(drop.format(sql.Identifier(name)))


def _wait_for_scheduler(airflow: str) -> None:
    query = "select count(*) from job where job_type = 'SchedulerJob' and state = 'running'"
    deadline = time.monotonic() + 120
    with psycopg.connect(airflow, autocommit=True) as connection:
        while not connection.execute(query).fetchone()[0]:
            assert time.monotonic() < deadline, "the scheduler did not come up"
            time.sleep(0.2)


def _environment(root: Path, postgres: str, database: str, name: str) -> dict[str, str]:
    at = conninfo.conninfo_to_dict(postgres)
    ours = conninfo.conninfo_to_dict(database)
    server = f"{at['host']}:{at.get('port', 5432)}"
    connection = {
        "conn_type": "postgres",
        "host": ours["host"],
        "port": int(ours["port"] or 5432),
        "login": ours["user"],
        "password": ours.get("password"),
        "schema": ours["dbname"],
    }
    settings = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": (
            f"postgresql+psycopg2://{at['user']}:{at.get('password', '')}@{server}/{name}"
        ),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.05",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
        "AIRFLOW__DATAHARBOUR__HOME": str(root),
        "AIRFLOW__DATAHARBOUR__INCLUDE_DIR": str(root / "include"),
        "AIRFLOW__DATAHARBOUR__APPLICATIONS": str(root / "applications"),
        "AIRFLOW__DATAHARBOUR__LAKE": f"{root.as_uri()}/lake",
        "AIRFLOW_CONN_DATAHARBOUR_DB": json.dumps(connection),
    }
    return {**neutral_environment(), **settings, "AIRFLOW_HOME": str(root)}


def test_test_runs_are_left_alone_by_the_scheduler(beside):
    """Before they were kept apart, one of ten failed; the moment is held open here."""
    out = beside.python(TRY, str(TEST_RUNS))
    tried = Counter(line for line in out.splitlines() if line.startswith("tried:"))
    assert tried == {"tried: success dags_test left alone": TEST_RUNS}


def test_schedules_make_the_runs_that_they_say(beside):
    span = {"start": "2026-07-01", "end": "2026-07-03", "catchup": True, "max_concurrent_runs": 9}
    night = {"timezone": "Europe/Zurich", **span}
    beside.declare(
        moments={"schedule": "0 2 * * *", **night},
        intervals={"schedule": {"cron": "0 2 * * *", "data_interval": True}, **night},
        keys={
            "schedule": {
                "cron": "@daily",
                "partition_key": "%Y-%m-%d",
                "partition_offset": -1,
            },
            **night,
        },
        after={"schedule": {"assets": ["silver/sales"]}},
    )
    beside.python(UPDATE)
    days = ("2026-07-01 00:00", "2026-07-02 00:00", "2026-07-03 00:00")
    expected = {
        "moments": [("scheduled", day, None) for day in days],
        "intervals": [("scheduled", day, None) for day in days],
        "keys": [("scheduled", None, key) for key in ("2026-06-30", "2026-07-01", "2026-07-02")],
        "after": [("asset_triggered", None, None)],
    }
    deadline = time.monotonic() + 60
    while (found := {job: beside.runs(job) for job in expected}) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def test_a_missed_deadline_is_an_event(beside):
    beside.declare(late={"deadline": {"within_s": 1}})
    beside.python(BE_LATE)
    query = "select data from event where kind = 'run.deadline_missed'"
    deadline = time.monotonic() + 120
    with connect(beside.dataharbour, autocommit=True) as connection:
        while not (rows := connection.execute(query).fetchall()):
            assert time.monotonic() < deadline, "the deadline was not reported"
            time.sleep(0.5)
    [[data]] = rows
    assert (data["dag_id"], data["dag_run_id"]) == ("job__late", "manual__late")
    assert data["job"] == "late"
