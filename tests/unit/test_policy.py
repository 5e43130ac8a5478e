"""The scheduler leaves to `airflow dags test` what that carries out itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.utils.types import DagRunTriggeredByType

from dataharbour.policy import TEST_POOL, task_instance_mutation_hook


@pytest.mark.parametrize(
    ("dag_run", "pool"),
    [
        (SimpleNamespace(triggered_by=DagRunTriggeredByType.TEST), TEST_POOL),
        (SimpleNamespace(triggered_by=DagRunTriggeredByType.REST_API), "spark_drivers"),
        (None, "spark_drivers"),
    ],
)
def test_only_the_tasks_of_test_runs_are_in_the_pool_without_slots(dag_run, pool):
    task = SimpleNamespace(pool="spark_drivers")
    task_instance_mutation_hook(task, dag_run=dag_run)
    assert task.pool == pool
