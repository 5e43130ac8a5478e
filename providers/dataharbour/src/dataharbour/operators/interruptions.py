"""What it means for a run that Airflow interrupts its task, or that the task fails by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from airflow.sdk.exceptions import AirflowException

from dataharbour.clock import now
from dataharbour.errors import Conflict
from dataharbour.hooks.backends import backend_of
from dataharbour.hooks.database import DataHarbourDatabaseHook
from dataharbour.jobs.caller import Caller, is_carried_by
from dataharbour.jobs.stopping import BY_AIRFLOW, abandon, cancel, time_out
from dataharbour.triggers.task_state import task_state

# What a task instance is when somebody has marked, cleared or deleted it. In any other state it
# comes again, or another try of it is there.
TAKEN_AWAY = frozenset({"failed", "success", "skipped", "upstream_failed", "removed", "restarting"})
ON_KILL_S = 3.5  # Airflow kills the task 5 s after SIGTERM
ON_TIMEOUT_S = 15.0


def interrupted(run_id: UUID, caller: Caller, *, is_out_of_time: bool) -> None:
    """The task ran too long, somebody marked or cleared it, or its worker is being stopped.

    In the last case the driver goes on: the next try takes it up. So it does when the scheduler
    took this worker for dead, and another try may be there already.

    Args:
        run_id: the task's run.
        caller: the task.
        is_out_of_time: its `execution_timeout` is over.

    Raises:
        AirflowException: the driver goes on.
    """
    if is_out_of_time:
        store = DataHarbourDatabaseHook().run_store(actor="operator")
        time_out(
            store,
            run_id,
            backend_of=backend_of,
            within_s=ON_TIMEOUT_S,
            caller=caller,
            clock=now,
        )
        return
    state = task_state(
        dag_id=caller.dag_id,
        dag_run_id=caller.dag_run_id,
        task_id=caller.task_id,
        map_index=caller.map_index,
    )
    store = DataHarbourDatabaseHook().run_store(actor=BY_AIRFLOW)
    if state not in TAKEN_AWAY or not is_carried_by(store.get(run_id), caller):
        raise AirflowException(
            f"This worker is being stopped. The driver of run {run_id} goes on; the next try "
            "of the task takes it up."
        )
    with suppress(Conflict):  # it is being published: too late
        cancel(store, run_id, backend_of=backend_of, within_s=ON_KILL_S, clock=now)


@contextmanager
def left_by_nobody(caller: Caller) -> Iterator[None]:
    """End the run when this was the last try, and it failed without an end of the run."""
    try:
        yield
    except Exception as error:
        if not caller.may_retry:
            store = DataHarbourDatabaseHook().run_store(actor="operator")
            abandon(store, error, backend_of=backend_of, caller=caller, clock=now)
        raise
