"""What it means for a run that Airflow interrupts its task, or that the task fails by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from airflow.sdk.exceptions import AirflowException

from dataharbour.errors import Conflict
from dataharbour.hooks.backends import backend_of
from dataharbour.hooks.database import DataHarbourDatabaseHook
from dataharbour.jobs.caller import Caller
from dataharbour.jobs.stopping import BY_AIRFLOW, abandon, cancel, time_out
from dataharbour.operators.surroundings import now
from dataharbour.triggers.task_state import task_state

ON_KILL_S = 3.5  # Airflow kills the task 5 s after SIGTERM
ON_TIMEOUT_S = 15.0


def interrupted(run_id: UUID, caller: Caller, *, is_out_of_time: bool) -> None:
    """The task ran too long, somebody marked or cleared it, or its worker is being stopped.

    In the last case the driver goes on: the next try takes it up.

    Args:
        run_id: the task's run.
        caller: the task.
        is_out_of_time: its `execution_timeout` is over.

    Raises:
        AirflowException: the worker is being stopped.
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
    if state in (None, "running"):
        raise AirflowException(
            f"This worker is being stopped. The driver of run {run_id} goes on; the next try "
            "of the task takes it up."
        )
    store = DataHarbourDatabaseHook().run_store(actor=BY_AIRFLOW)
    with suppress(Conflict):  # it is being published: too late
        cancel(store, run_id, within_s=ON_KILL_S, clock=now)


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
