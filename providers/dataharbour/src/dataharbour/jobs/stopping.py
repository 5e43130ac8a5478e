"""End a run before its time: cancelled, timed out, abandoned, given up.

A driver is asked first; one that does not listen is fenced off (it can publish and
report no more), and then killed where it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from uuid import UUID

from dataharbour.errors import DataHarbourError
from dataharbour.jobs.backends.launch import BackendOf, StartedDriver
from dataharbour.jobs.caller import Caller, is_carried_by, run_of_task
from dataharbour.jobs.model import AttemptState, Detail, Failure, FailureClass, Run
from dataharbour.jobs.outcomes import Step, step
from dataharbour.jobs.states import terminal
from dataharbour.jobs.store import RunStore

ABANDON_WITHIN_S = 15.0

BY_AIRFLOW = "airflow"  # the actor of a cancellation that comes from Airflow, not from a person
CANCELLED = Failure(FailureClass.CANCELLED, "Cancelled while it ran.")

Clock = Callable[[], datetime]


def cancel(
    store: RunStore, run_id: UUID, *, backend_of: BackendOf, within_s: float, clock: Clock
) -> bool:
    """Ask for the end of a run, and see it end if that takes no longer than `within_s`.

    A driver that has not been heard of for a lease is given up.

    Args:
        store: its actor is named in the events as who cancelled.
        run_id: the run.
        backend_of: the backend of a name.
        within_s: how long to wait for the driver's end.
        clock: the present.

    Returns:
        Whether the driver is gone, and the run CANCELLED.

    Raises:
        Conflict: the run is being published.
    """
    run = store.cancel(run_id, now=clock())
    if step(run) is Step.REFUSE:
        return True
    attempt = store.wait(run_id, timeout_s=within_s)
    if attempt.lapsed:
        give_up(store, run, attempt, backend_of=backend_of, now=clock())
    elif not attempt.ended:
        return False
    store.finish(
        run_id,
        detail=Detail.CANCELLED,
        failure=CANCELLED,
        attempt=attempt.number,
        now=clock(),
    )
    return True


def time_out(
    store: RunStore,
    run_id: UUID,
    *,
    backend_of: BackendOf,
    within_s: float,
    caller: Caller,
    clock: Clock,
) -> None:
    """End a run whose task has run longer than Airflow allows it to (`execution_timeout`).

    One that a later try of the task carries is left alone; so is one whose driver has succeeded:
    the next try publishes its outputs, or the reconciliation.
    """
    run = store.get(run_id)
    if not is_carried_by(run, caller):
        return
    reason = Failure(FailureClass.TIMEOUT, "The task's execution_timeout is over.")
    _end(
        store,
        run,
        Detail.TIMED_OUT,
        reason,
        backend_of=backend_of,
        within_s=within_s,
        caller=caller,
        clock=clock,
    )


def abandon(
    store: RunStore, error: Exception, *, backend_of: BackendOf, caller: Caller, clock: Clock
) -> None:
    """End the run of a task that failed for the last time: nobody comes to it again.

    A try whose worker was cut off may think so and be wrong: a later one (somebody cleared the
    task) carries the run then, and it is left alone. So is one whose driver has succeeded: the
    reconciliation publishes its outputs.
    """
    run = run_of_task(store, caller)
    if run is None or terminal(run.detail) or not is_carried_by(run, caller):
        return
    problem = error.problem if isinstance(error, DataHarbourError) else repr(error)
    reason = Failure(FailureClass.INFRA, f"The task could not go on: {problem}")
    _end(
        store,
        run,
        Detail.FAILED,
        reason,
        backend_of=backend_of,
        within_s=ABANDON_WITHIN_S,
        caller=caller,
        clock=clock,
    )


def _end(
    store: RunStore,
    run: Run,
    detail: Detail,
    reason: Failure,
    *,
    backend_of: BackendOf,
    within_s: float,
    caller: Caller,
    clock: Clock,
) -> None:
    """Have the driver end, then the run."""
    has_stopped = end_driver(
        store,
        run,
        run.attempt,
        task_try=caller.task_try,
        backend_of=backend_of,
        within_s=within_s,
        clock=clock,
    )
    if has_stopped:
        store.finish(
            run.id,
            detail=detail,
            failure=reason,
            clears=caller.clears,
            attempt=run.attempt,
            now=clock(),
        )


def end_driver(
    store: RunStore,
    run: Run,
    attempt: int,
    *,
    task_try: int | None = None,
    backend_of: BackendOf,
    within_s: float,
    clock: Clock,
) -> bool:
    """Have the driver of an attempt end; one that does not is given up.

    Args:
        store: where the run is.
        run: the run.
        attempt: the attempt's number; 0: the run has none yet, and there is nothing to do.
        task_try: number of the try of the task that says so; None: it is no task.
        backend_of: the backend of a name.
        within_s: how long to wait for the driver's end.
        clock: the present.

    Returns:
        Whether the caller has to say how the run ends; False: the driver has succeeded already,
        and its outputs are to be published.

    Raises:
        Conflict: the run is at another attempt by now, or another try of its task carries it.
    """
    if not attempt:
        return True
    if not store.stop_driver(run.id, attempt=attempt, task_try=task_try, now=clock()):
        return False
    found = store.wait(run.id, timeout_s=within_s)
    if not found.ended:
        give_up(store, run, found, backend_of=backend_of, now=clock())
    return True


def give_up(
    store: RunStore,
    run: Run,
    attempt: AttemptState,
    *,
    only_if: Collection[Detail] = (),
    backend_of: BackendOf,
    now: datetime,
) -> bool:
    """See that a driver that is not waited for any more does nothing more.

    With `only_if`, only while its attempt is in one of these states.

    Returns:
        Whether it was given up.

    Raises:
        Conflict: the run is at another attempt by now.
    """
    if not store.give_up(run.id, attempt=attempt.number, only_if=only_if, now=now):
        return False
    driver = StartedDriver(attempt.attempt_id, attempt.external_id, run.principal)
    backend_of(run.backend).kill(driver)
    return True
