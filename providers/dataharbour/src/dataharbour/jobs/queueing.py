"""Decide why a queued run waits, by what Airflow holds of its task.

Pure: facts go in, a reason comes out. What cannot be known stays unknown, nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from dataharbour.jobs.model import Detail, Run, State

UNLIMITED = -1


class Reason(StrEnum):
    """Why a run waits."""

    STARTING = "starting"  # its driver is being started
    RETRY_DELAY = "retry_delay"  # an attempt failed; the next one waits for its time
    ACCEPTING = "accepting"  # Airflow has not confirmed the run yet
    DAG_PAUSED = "dag_paused"
    DAG_MISSING = "dag_missing"  # its file is gone, or cannot be read any more
    BACKFILL_PAUSED = "backfill_paused"
    MAX_CONCURRENT_RUNS = "max_concurrent_runs"
    UPSTREAM = "upstream"  # other tasks of its DAG run come first
    POOL_FULL = "pool_full"
    POOL_MISSING = "pool_missing"
    TASK_CONCURRENCY = "task_concurrency"
    EXECUTOR_FULL = "executor_full"
    WORKER = "worker"  # the executor has it; no worker has begun
    SCHEDULING = "scheduling"  # nothing is in its way: the scheduler takes it when it looks next
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Queue:
    """Why a run waits.

    Attributes:
        reason: for machines.
        message: for people; goes on after "waiting: ".
        position: 1 is the next one; None where the order is not known.
        until: when the wait is over, where that is known.
    """

    reason: Reason
    message: str
    position: int | None = None
    until: datetime | None = None


class TaskKey(NamedTuple):
    """What Airflow knows a task instance by."""

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int


@dataclass(frozen=True, slots=True)
class Slots:
    """How much of something bounded is in use; `total` may be `UNLIMITED`."""

    total: int
    used: int

    def lack(self, wanted: int = 1) -> bool:
        """Whether fewer than `wanted` are free."""
        return self.total != UNLIMITED and self.total - self.used < wanted


@dataclass(frozen=True, slots=True)
class Facts:
    """What Airflow holds of the task of a run; None where there is none.

    Attributes:
        dag_paused: whether the DAG is paused; None where Airflow has no such DAG (any more).
        dag_run: state of the DAG run.
        runs: active runs of the DAG, or of the backfill that the run is part of.
        runs_before: queued ones that come before this one.
        of_backfill: the run is part of a backfill.
        backfill_paused: and that is paused.
        task: state of the task instance.
        pool: name of its pool.
        pool_slots: of the pool; None where there is no such pool.
        wants: slots of the pool that the task takes.
        tasks_before: tasks that come before it in the pool; None where the order is open.
        tasks: active tasks of the DAG run.
        executor: tasks that the scheduler has handed out.
        alone: the DAG has no other task.
    """

    dag_paused: bool | None = None
    dag_run: str | None = None
    runs: Slots | None = None
    runs_before: int | None = None
    of_backfill: bool = False
    backfill_paused: bool = False
    task: str | None = None
    pool: str | None = None
    pool_slots: Slots | None = None
    wants: int = 1
    tasks_before: int | None = None
    tasks: Slots | None = None
    executor: Slots | None = None
    alone: bool = True


def key_of(run: Run) -> TaskKey:
    """The task that carries a run out."""
    return TaskKey(run.dag_id, run.dag_run_id, run.task_id, run.map_index)


def why_queued(run: Run, facts: Facts | None, *, now: datetime) -> Queue | None:
    """Why a run waits, or None: it does not.

    Args:
        run: as the database has it.
        facts: what Airflow holds of its task; None where it could not be asked.
        now: aware UTC.
    """
    if run.state is not State.QUEUED:
        return None
    if run.detail in (Detail.SUBMITTING, Detail.SUBMITTED):
        return Queue(Reason.STARTING, "its driver is being started")
    if run.detail is Detail.RETRY_WAIT and run.retry_at is not None and now < run.retry_at:
        return Queue(
            Reason.RETRY_DELAY,
            f"attempt {run.attempt} failed; the next one begins at {run.retry_at:%H:%M:%S} UTC",
            until=run.retry_at,
        )
    if facts is None:
        return Queue(Reason.UNKNOWN, "Airflow could not be asked")
    if facts.dag_run is None:
        if run.detail is Detail.ACCEPTED:
            return Queue(Reason.ACCEPTING, "Airflow has not confirmed it yet")
        return Queue(Reason.UNKNOWN, "Airflow has no DAG run of it")
    return _of_the_dag(run.dag_id, facts)


def _of_the_dag(dag_id: str, facts: Facts) -> Queue:
    if facts.dag_paused is None:
        return Queue(Reason.DAG_MISSING, f"Airflow has no DAG {dag_id} any more")
    if facts.dag_paused:
        return Queue(Reason.DAG_PAUSED, f"the DAG {dag_id} is paused")
    if facts.dag_run == "queued":
        return _of_the_dag_run(facts)
    if facts.dag_run == "running":
        return _of_the_task(facts)
    return Queue(Reason.UNKNOWN, f"its DAG run is {facts.dag_run}; it will be ended within minutes")


def _of_the_dag_run(facts: Facts) -> Queue:
    if facts.backfill_paused:
        return Queue(Reason.BACKFILL_PAUSED, "its backfill is paused")
    if facts.runs is not None and facts.runs.lack():
        whose = "its backfill" if facts.of_backfill else "its DAG"
        return Queue(
            Reason.MAX_CONCURRENT_RUNS,
            f"{facts.runs.used} of at most {facts.runs.total} runs of {whose} are active",
            position=None if facts.runs_before is None else facts.runs_before + 1,
        )
    return Queue(Reason.SCHEDULING, "the scheduler has not come to it yet")


def _of_the_task(facts: Facts) -> Queue:
    if facts.task == "scheduled":
        return _of_the_pool(facts)
    if facts.task is None and not facts.alone:
        return Queue(Reason.UPSTREAM, "other tasks of its DAG run come first")
    said = {
        None: Queue(Reason.SCHEDULING, "the scheduler has not come to it yet"),
        "up_for_retry": Queue(Reason.RETRY_DELAY, "its task waits for its next try"),
        "queued": Queue(Reason.WORKER, "it waits for a worker of Airflow"),
        "running": Queue(Reason.STARTING, "its task has begun"),
    }
    return said.get(facts.task, Queue(Reason.UNKNOWN, f"its task is {facts.task}"))


def _of_the_pool(facts: Facts) -> Queue:
    if facts.pool_slots is None:
        return Queue(Reason.POOL_MISSING, f"there is no pool {facts.pool}")
    if facts.pool_slots.lack(facts.wants):
        return Queue(
            Reason.POOL_FULL,
            f"the pool {facts.pool}: {facts.pool_slots.used} of {facts.pool_slots.total} slots "
            "in use",
            position=None if facts.tasks_before is None else facts.tasks_before + 1,
        )
    if facts.tasks is not None and facts.tasks.lack():
        return Queue(
            Reason.TASK_CONCURRENCY,
            f"{facts.tasks.used} of at most {facts.tasks.total} tasks of its DAG run are active",
        )
    if facts.executor is not None and facts.executor.lack():
        return Queue(
            Reason.EXECUTOR_FULL,
            f"Airflow's executor: {facts.executor.used} of {facts.executor.total} tasks at work",
        )
    return Queue(Reason.SCHEDULING, "the scheduler has not come to it yet")
