"""What Airflow's own database says of tasks that wait: rows as its scheduler writes them."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dataharbour.testing.airflow_home import own_airflow

own_airflow(Path(__file__).parents[2] / "dags")

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAG_FILE = """
    from airflow.sdk import DAG
    from airflow.providers.standard.operators.empty import EmptyOperator

    with DAG("queues", schedule=None, max_active_runs=2, max_active_tasks=5):
        EmptyOperator(task_id="run", pool="narrow")
"""


@pytest.fixture
def airflow(tmp_path):
    """The DAG `queues` in Airflow's database; makes runs of it, and sets the state of tasks."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.models.pool import Pool
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import delete, update

    (tmp_path / "queues.py").write_text(textwrap.dedent(DAG_FILE))
    bundles = DagBundlesManager()
    bundles.sync_bundles_to_db()
    bundle = next(iter(bundles.get_all_dag_bundles()))
    bag = BundleDagBag(dag_folder=tmp_path, bundle_path=tmp_path, bundle_name=bundle.name)
    assert bag.import_errors == {}
    sync_bag_to_db(bag, bundle.name, None)
    Pool.create_or_update_pool(
        "narrow", slots=1, description="", include_deferred=True, session=_session()
    )
    with create_session() as session:
        dag = SerializedDagModel.get_dag("queues", session=session)

    class Rows:
        def run(self, name, *, state="queued", task=None, minutes=0):
            with create_session() as session:
                run = dag.create_dagrun(
                    run_id=name,
                    run_after=NOW + timedelta(minutes=minutes),
                    run_type=DagRunType.MANUAL,
                    triggered_by=DagRunTriggeredByType.REST_API,
                    state=DagRunState(state),
                    session=session,
                )
                for ti in run.get_task_instances(session=session):
                    ti.state = task
            return ("queues", name, "run", -1)

        def dag(self, **columns):
            with create_session() as session:
                session.execute(
                    update(DagModel).where(DagModel.dag_id == "queues").values(**columns)
                )

    yield Rows()
    with create_session() as session:
        session.execute(delete(DagRun).where(DagRun.dag_id == "queues"))
        session.execute(delete(DagModel).where(DagModel.dag_id == "queues"))


def _session():
    from airflow import settings

    return settings.Session()


@pytest.fixture
def facts():
    from dataharbour.airflow_compat import AirflowQueues
    from dataharbour.jobs.queueing import TaskKey

    def ask(*keys):
        found = AirflowQueues().facts([TaskKey(*key) for key in keys])
        return found[TaskKey(*keys[0])] if len(keys) == 1 else found

    return ask


def test_queued_runs_stand_in_the_order_in_which_they_came(airflow, facts):
    airflow.run("a", state="running", task="running")
    airflow.run("b", state="running", task="running")
    later = airflow.run("d", minutes=2)
    sooner = airflow.run("c", minutes=1)
    for key, before in ((sooner, 0), (later, 1)):
        found = facts(key)
        assert (found.dag_run, found.runs_before) == ("queued", before)
        assert (found.runs.total, found.runs.used) == (2, 2)
    assert len(facts(sooner, later)) == 2


def test_a_task_sees_how_full_its_pool_is(airflow, facts):
    airflow.run("a", state="running", task="deferred")
    key = airflow.run("b", state="running", task="scheduled")
    found = facts(key)
    assert (found.task, found.pool, found.wants) == ("scheduled", "narrow", 1)
    assert (found.pool_slots.total, found.pool_slots.used) == (1, 1)
    assert found.tasks_before == 0
    assert (found.tasks.total, found.tasks.used) == (5, 0)
    assert found.executor.total > 0


def test_of_tasks_that_the_scheduler_does_not_order_none_has_a_position(airflow, facts):
    first = airflow.run("a", state="running", task="scheduled")
    airflow.run("b", state="running", task="scheduled")
    assert facts(first).tasks_before is None


def test_a_paused_dag_and_one_that_is_gone_are_told_apart(airflow, facts):
    key = airflow.run("a")
    airflow.dag(is_paused=True)
    assert facts(key).dag_paused is True
    airflow.dag(is_paused=False)
    assert facts(key).dag_paused is False
    airflow.dag(is_stale=True)
    assert facts(key).dag_paused is None


def test_what_airflow_does_not_know_is_not_there(facts):
    found = facts(("nowhere", "x", "run", -1))
    assert (found.dag_paused, found.dag_run, found.task) == (None, None, None)


def test_nobody_is_asked_about_nothing():
    from dataharbour.airflow_compat import AirflowQueues

    assert AirflowQueues().facts([]) == {}
