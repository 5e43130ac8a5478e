"""End the runs that nobody comes to any more.

A run is carried to its end by its Airflow task. Where that ended without it (somebody marked it
while its worker was gone, its last try was killed, its DAG run was deleted), the run would stay
open for ever, and its driver might go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from dataharbour.errors import Conflict
from dataharbour.jobs.backends.launch import BackendOf
from dataharbour.jobs.model import Desired, Detail, Failure, FailureClass, Run
from dataharbour.jobs.states import terminal
from dataharbour.jobs.stopping import end_driver
from dataharbour.jobs.store import RunStore

QUIET_FOR = timedelta(minutes=1)  # a run that has just changed has somebody
ACCEPTED_WITHIN = timedelta(minutes=10)  # a client may still repeat its request until then
LIMIT = 500  # runs looked at in one go
END_WITHIN_S = 15.0

_OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


@dataclass(frozen=True, slots=True)
class Task:
    """What Airflow holds of the task of a run.

    Attributes:
        dag_run: state of the DAG run; None where there is none.
        task: state of the task instance; None where it has none yet.
    """

    dag_run: str | None
    task: str | None

    @property
    def is_over(self) -> bool:
        """Whether it will not come any more."""
        if self.dag_run is None or self.task in _OVER:
            return True
        return self.task is None and self.dag_run in _OVER


class Verdict(StrEnum):
    """What to do with a run that has not ended."""

    LEAVE = "leave"  # its task is there, or will come
    QUEUE = "queue"  # Airflow has it; the API died before it could write that down
    REFUSE = "refuse"  # Airflow never got it, and no client knows of it
    CANCEL = "cancel"
    FAIL = "fail"


def verdict(run: Run, task: Task, *, now: datetime) -> Verdict:
    """Decide about a run that has not ended."""
    if run.detail is Detail.ACCEPTED and task.dag_run is not None and not task.is_over:
        return Verdict.QUEUE
    if not task.is_over:
        return Verdict.LEAVE
    if run.detail is Detail.ACCEPTED:
        is_old = now - run.created_at >= ACCEPTED_WITHIN
        return Verdict.REFUSE if is_old else Verdict.LEAVE
    return Verdict.CANCEL if run.desired is Desired.CANCELLED else Verdict.FAIL


def reconcile(
    store: RunStore,
    task_of: Callable[[Run], Task],
    *,
    backend_of: BackendOf,
    clock: Callable[[], datetime],
) -> dict[str, list[str]]:
    """Look at each run that is open, and end those that nobody comes to.

    Args:
        store: the runs.
        task_of: asks Airflow for the task of a run.
        backend_of: the backend of a name, to kill what does not listen.
        clock: the present, aware UTC.

    Returns:
        The ids of the runs that were changed, by verdict.
    """
    done: dict[str, list[str]] = {}
    for run in store.unattended(before=clock() - QUIET_FOR, limit=LIMIT):
        found = verdict(run, task_of(run), now=clock())
        if found is not Verdict.LEAVE and _carry_out(store, run, found, backend_of, clock):
            done.setdefault(str(found), []).append(str(run.id))
    return done


def _carry_out(
    store: RunStore,
    run: Run,
    found: Verdict,
    backend_of: BackendOf,
    clock: Callable[[], datetime],
) -> bool:
    """Do what was found; False where the run has changed meanwhile."""
    try:
        if found is Verdict.QUEUE:
            store.queued(run.id, now=clock())
            return True
        end_driver(
            store, run, run.attempt, backend_of=backend_of, within_s=END_WITHIN_S, clock=clock
        )
        if not terminal(store.get(run.id).detail):
            detail, reason = _END[found]
            store.finish(run.id, detail=detail, failure=reason, attempt=run.attempt, now=clock())
    except Conflict:
        return False
    return True


_END = {
    Verdict.REFUSE: (
        Detail.FAILED,
        Failure(FailureClass.INFRA, "Airflow never took the run; nobody was told that it exists."),
    ),
    Verdict.CANCEL: (
        Detail.CANCELLED,
        Failure(FailureClass.CANCELLED, "Cancelled; its task was gone already."),
    ),
    Verdict.FAIL: (
        Detail.FAILED,
        Failure(FailureClass.INFRA, "Its Airflow task ended, or was deleted, before the run did."),
    ),
}
