"""End the runs that nobody comes to any more.

A run is carried to its end by its Airflow task. Where that ended without it (somebody marked it
while its worker was gone, its last try was killed, its DAG run was deleted), the run would stay
open for ever, and its driver might go on. One whose driver has succeeded is not failed for that:
what it staged is published.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from dataharbour.errors import Conflict, Unavailable
from dataharbour.jobs.caller import Caller
from dataharbour.jobs.conclude import conclude
from dataharbour.jobs.finalize import Gate
from dataharbour.jobs.model import AttemptState, Desired, Detail, Failure, FailureClass, Run
from dataharbour.jobs.outcomes import Outcome
from dataharbour.jobs.site import Site
from dataharbour.jobs.states import terminal
from dataharbour.jobs.stopping import end_driver
from dataharbour.jobs.store import RunStore

QUIET_FOR = timedelta(minutes=1)  # a run that has just changed has somebody
ACCEPTED_WITHIN = timedelta(minutes=10)  # a client may still repeat its request until then
PAGE = 500  # runs read at once
END_WITHIN_S = 15.0
# As if the task had heard of the end before it was cleared as often as it has been: when somebody
# clears it, it gets a new run.
TOLD = -1

_OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})

log = logging.getLogger(__name__)


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
    PUBLISH = "publish"  # its driver has succeeded
    FAIL = "fail"


def verdict(run: Run, task: Task, *, has_succeeded: bool, now: datetime) -> Verdict:
    """Decide about a run that has not ended.

    Args:
        run: the run.
        task: what Airflow holds of its task.
        has_succeeded: whether its newest driver has.
        now: aware UTC.
    """
    if run.detail is Detail.ACCEPTED and task.dag_run is not None and not task.is_over:
        return Verdict.QUEUE
    if not task.is_over:
        return Verdict.LEAVE
    if run.detail is Detail.ACCEPTED:
        is_old = now - run.created_at >= ACCEPTED_WITHIN
        return Verdict.REFUSE if is_old else Verdict.LEAVE
    if run.desired is Desired.CANCELLED:
        return Verdict.CANCEL
    return Verdict.PUBLISH if has_succeeded else Verdict.FAIL


def reconcile(site: Site, task_of: Callable[[Run], Task]) -> dict[str, list[str]]:
    """Look at each run that is open, and end those that nobody comes to.

    Args:
        site: this installation.
        task_of: asks Airflow for the task of a run.

    Returns:
        The ids of the runs that were changed, by verdict.

    Raises:
        Unavailable: some runs could not be looked after, which it names; all others were.
    """
    done: dict[str, list[str]] = {}
    failed: dict[str, Exception] = {}
    for run in _unattended(site.store, before=site.clock() - QUIET_FOR):
        try:
            task = task_of(run)
            succeeded = task.is_over and _has_succeeded(site, run)
            found = verdict(run, task, has_succeeded=succeeded, now=site.clock())
            if found is Verdict.LEAVE or not _carry_out(site, run, found):
                continue
        except Exception as error:  # the others must not wait until somebody has mended this one
            log.exception("Run %s cannot be looked after", run.id)
            if terminal(site.store.get(run.id).detail):  # that has ended it
                done.setdefault(str(Verdict.FAIL), []).append(str(run.id))
            else:
                failed[str(run.id)] = error
        else:
            log.warning("%s: run %s", found, run.id)
            done.setdefault(str(found), []).append(str(run.id))
    if failed:
        raise _left_open(failed)
    return done


def _unattended(store: RunStore, *, before: datetime) -> Iterator[Run]:
    """All of them, page by page: many that are left alone must not hide those behind them."""
    after: UUID | None = None
    while page := store.unattended(before=before, after=after, limit=PAGE):
        yield from page
        after = page[-1].id


def _left_open(failed: Mapping[str, Exception]) -> Unavailable:
    listed = ", ".join(f"{run_id} ({type(error).__name__})" for run_id, error in failed.items())
    return Unavailable(
        f"{len(failed)} runs could not be looked after: {listed}.",
        "The log has the cause of each: mend it. The next pass, five minutes from now, looks at "
        "them again; all others were looked after.",
    )


def _carry_out(site: Site, run: Run, found: Verdict) -> bool:
    """Do what was found; False where the run has changed meanwhile."""
    try:
        if found is Verdict.QUEUE:
            site.store.queued(run.id, now=site.clock())
            return True
        if found is Verdict.PUBLISH:
            _publish(site, run)
            return True
        return _end(site, run, found)
    except Conflict:
        return False


def _publish(site: Site, run: Run) -> None:
    """Do what the run's task would do, were it there."""
    nobody = Caller(
        dag_id=run.dag_id,
        dag_run_id=run.dag_run_id,
        task_id=run.task_id,
        map_index=run.map_index,
        principal=run.principal,
        clears=TOLD,
        may_retry=False,
    )
    with Gate.of(run, site.lake, site.settings.include_dir) as gate:
        conclude(site, run, _attempt(site, run), Outcome.ENDED, caller=nobody, gate=gate)


def _end(site: Site, run: Run, found: Verdict) -> bool:
    """End a run, with what is left of its driver; False where that has just succeeded."""
    has_stopped = end_driver(
        site.store,
        run,
        run.attempt,
        backend_of=site.backend_of,
        within_s=END_WITHIN_S,
        clock=site.clock,
    )
    if not has_stopped:
        return False
    ended = site.store.get(run.id)
    detail, reason = _END[found]
    if terminal(ended.detail):  # the driver's last word has ended it
        detail = ended.detail
    if ended.clears is None:
        site.store.finish(
            run.id,
            detail=detail,
            failure=reason,
            clears=None if found is Verdict.REFUSE else TOLD,
            attempt=run.attempt,
            now=site.clock(),
        )
    return True


def _has_succeeded(site: Site, run: Run) -> bool:
    return run.attempt > 0 and _attempt(site, run).observed is Detail.SUCCEEDED


def _attempt(site: Site, run: Run) -> AttemptState:
    """The newest one of a run."""
    return site.store.wait(run.id, timeout_s=0)


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
