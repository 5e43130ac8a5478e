"""The scheduler leaves to `airflow dags test` what that carries out itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow import settings
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


def test_airflow_asks_the_policy_when_it_makes_task_instances():
    """Airflow 3.3.2 would pass over it: it was loaded by an entry point, not from a file."""
    assert task_instance_mutation_hook.__module__ == "dataharbour.policy"
    assert settings.task_instance_mutation_hook.is_noop is False
    plugins = settings.get_policy_plugin_manager().get_plugins()
    assert "dataharbour.policy" in {getattr(plugin, "__name__", "") for plugin in plugins}
