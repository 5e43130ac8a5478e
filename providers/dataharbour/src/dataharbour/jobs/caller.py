"""The task of Airflow that carries a run out, and how its run is found."""

from __future__ import annotations

from dataclasses import dataclass

from dataharbour.jobs.model import Run
from dataharbour.jobs.store import RunStore


@dataclass(frozen=True, slots=True)
class Caller:
    """The task instance that carries a run out.

    Attributes:
        principal: who wanted the run.
        clears: how often Airflow's users have cleared the DAG run: each time the
            task begins from the start, with a new run.
        attempts: how many times the user's code may be started.
        may_retry: whether Airflow will run the task again when it fails now.
    """

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int
    principal: str
    clears: int = 0
    attempts: int = 1
    may_retry: bool = True


def run_of_task(store: RunStore, caller: Caller) -> Run | None:
    """The newest run of the task instance, if it has one."""
    return store.find(
        dag_id=caller.dag_id,
        dag_run_id=caller.dag_run_id,
        task_id=caller.task_id,
        map_index=caller.map_index,
    )
