"""The task of Airflow that carries a run out, and how its run is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dataharbour.jobs.model import FailureClass, Run
from dataharbour.jobs.store import RunStore


@dataclass(frozen=True, slots=True)
class Caller:
    """The task instance that carries a run out.

    Attributes:
        principal: who wanted the run.
        clears: how often Airflow's users have cleared the DAG run: each time the
            task begins from the start, with a new run.
        attempts: how many times the user's code may be started.
        task_try: number of this try of the task.
        max_tries: how many tries Airflow gives it; a clear of the task, and nothing else, gives it
            more. None: unknown.
        may_retry: whether Airflow will run the task again when it fails now.
        retry_on: classes of failures that are tried again besides the usual ones.
        retry_delay_s: seconds from a failure to the next try, by its class; those
            that are not named are tried again at once.
    """

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int
    principal: str
    clears: int = 0
    attempts: int = 1
    task_try: int = 1
    max_tries: int | None = None
    may_retry: bool = True
    retry_on: frozenset[FailureClass] = frozenset()
    retry_delay_s: Mapping[FailureClass, float] = field(default_factory=dict)


def run_of_task(store: RunStore, caller: Caller) -> Run | None:
    """The newest run of the task instance, if it has one."""
    return store.find(
        dag_id=caller.dag_id,
        dag_run_id=caller.dag_run_id,
        task_id=caller.task_id,
        map_index=caller.map_index,
    )


def was_cleared_since(run: Run, caller: Caller) -> bool:
    """Whether somebody has cleared the task since a try of it took the run up."""
    if run.task_max_tries is None or caller.max_tries is None:
        return False
    return caller.max_tries > run.task_max_tries


def is_carried_by(run: Run, caller: Caller) -> bool:
    """Whether no other try of the task has taken the run up since this one did."""
    return run.task_try in (None, caller.task_try)
