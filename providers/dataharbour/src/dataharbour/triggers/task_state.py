"""Ask Airflow what it holds of a task instance, from inside a task or a trigger."""

from __future__ import annotations

from airflow.sdk.execution_time import task_runner

from dataharbour.jobs.model import Run
from dataharbour.jobs.reconcile import Task


def task_state(*, dag_id: str, dag_run_id: str, task_id: str, map_index: int | None) -> str | None:
    """The state of a task instance in Airflow's database, e.g. ``running``.

    None where it has none, or where one cannot ask: a signal handler that came in the middle of
    another question to Airflow would wait for itself.
    """
    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    lock = getattr(comms, "_thread_lock", None)
    if lock is not None and lock.locked():
        return None
    index = -1 if map_index is None else map_index
    states = task_runner.RuntimeTaskInstance.get_task_states(
        dag_id=dag_id, task_ids=[task_id], run_ids=[dag_run_id], map_index=index
    )
    key = task_id if index < 0 else f"{task_id}_{index}"
    state: str | None = states.get(dag_run_id, {}).get(key)
    return state


def task_of(run: Run) -> Task:
    """What Airflow holds of the task that carries out `run`."""
    ti = task_runner.RuntimeTaskInstance
    if not ti.get_dr_count(dag_id=run.dag_id, run_ids=[run.dag_run_id]):
        return Task(dag_run=None, task=None)
    state = task_state(
        dag_id=run.dag_id,
        dag_run_id=run.dag_run_id,
        task_id=run.task_id,
        map_index=run.map_index,
    )
    return Task(dag_run=ti.get_dagrun_state(run.dag_id, run.dag_run_id), task=state)
