"""Keep Airflow's scheduler away from what `airflow dags test` carries out itself.

Both would run the tasks of such a run: where a scheduler works on the same database, each of them
takes one now and then, and the other fails. `dags test` does not ask pools, the scheduler does; so
the tasks of test runs are in a pool without slots.

Airflow loads this module by the entry point `airflow.policy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow import settings
from airflow.policies import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

TEST_POOL = "dags_test"  # has no slots; one that is not there does as well

# Airflow 3.3.2 asks a policy when it makes task instances only after it has found a file
# airflow_local_settings.py, though a policy that came by its entry point is loaded all the same.
settings.task_instance_mutation_hook.is_noop = False


@hookimpl  # type: ignore[untyped-decorator]
def task_instance_mutation_hook(task_instance: TaskInstance, dag_run: DagRun | None) -> None:
    """See `airflow.policies`."""
    triggered_by = getattr(dag_run, "triggered_by", None)
    if getattr(triggered_by, "value", None) == "test":
        task_instance.pool = TEST_POOL
