"""Bring a run whose driver is over, or is not waited for any more, to its end or its next attempt.

What to do is decided in `outcomes`. Each function may be repeated after its process was killed at
any point: outputs appear once.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dataharbour.errors import (
    ConfigError,
    Conflict,
    DataHarbourError,
    JobFailed,
    QualityFailed,
    QualityUnchecked,
    Unavailable,
)
from dataharbour.jobs.caller import Caller
from dataharbour.jobs.finalize import Gate, discard, finalize, shown_tables
from dataharbour.jobs.model import AttemptState, Detail, Failure, FailureClass, Run
from dataharbour.jobs.outcomes import STOP_WITHIN_S, UNCLAIMED, Outcome, failure_of, goes_on
from dataharbour.jobs.site import Site
from dataharbour.jobs.states import terminal
from dataharbour.jobs.stopping import CANCELLED, end_driver, give_up

LAST_WORD_LOOKS = 10
LOOK_EVERY_S = 0.5
PUBLISH_WITHIN = timedelta(hours=24)  # a lake that is away for longer fails the run


class DriverCame(Unavailable):
    """A driver that was waited for in vain lives after all: there is nothing to conclude yet.

    Attributes:
        attempt: as it is now.
    """

    def __init__(self, attempt: AttemptState) -> None:
        super().__init__(
            f"The driver of attempt {attempt.number} has been heard of, late; it runs.",
            "Wait for its end; the next try of the task takes it up.",
        )
        self.attempt = attempt


@dataclass(frozen=True)
class Conclusion:
    """How an attempt was concluded.

    Attributes:
        run: as it is now: at its end, or in RETRY_WAIT.
        failure: why the attempt was no success, or None.
    """

    run: Run
    failure: Failure | None

    @property
    def goes_on(self) -> bool:
        """Whether another attempt shall follow."""
        return self.run.detail is Detail.RETRY_WAIT


def conclude(
    site: Site, run: Run, attempt: AttemptState, why: Outcome, *, caller: Caller, gate: Gate
) -> Conclusion:
    """Bring a run whose attempt is over to its end, or to the next attempt.

    Args:
        site: this installation.
        run: the run.
        attempt: its newest attempt, as last read.
        why: there is nothing more to wait for.
        caller: the task.
        gate: checks the staged outputs.

    Raises:
        DriverCame: it is not over: wait on.
        Conflict: the run is at another attempt, or carried by another try of the task, by
            now; this one has changed nothing.
        Unavailable: something did not answer; the task may be repeated.
    """
    try:
        return _concluded(site, run, attempt, why, caller=caller, gate=gate)
    except Conflict:
        if site.store.get(run.id).attempt != attempt.number:  # so nobody will publish that
            discard(run, attempt.attempt_id, lake=site.lake)
        raise


def _concluded(
    site: Site, run: Run, attempt: AttemptState, why: Outcome, *, caller: Caller, gate: Gate
) -> Conclusion:
    """See `conclude`."""
    if why is Outcome.LAPSED:
        attempt, why = _last_word(site, run, attempt)
    elif why is Outcome.OVERDUE:
        has_stopped = end_driver(
            site.store,
            run,
            attempt.number,
            task_try=caller.task_try,
            backend_of=site.backend_of,
            within_s=0 if attempt.observed in UNCLAIMED else STOP_WITHIN_S,  # nobody hears of it
            clock=site.clock,
        )
        if not has_stopped:  # it had succeeded by then
            attempt, why = site.store.attempt_state(attempt.attempt_id), Outcome.ENDED
    if why in (Outcome.LAPSED, Outcome.UNCLAIMED):
        attempt, why = _give_up(site, run, attempt, why)
    failed = failure_of(attempt, why)
    if failed is None:
        return _publish(site, run, attempt, caller=caller, gate=gate)
    detail, reason = failed
    if goes_on(
        reason,
        why,
        starts=sum(a.claimed_at is not None for a in site.store.attempts(run.id)),
        attempts=caller.attempts,
        may_retry=caller.may_retry,
        retry_on=caller.retry_on,
    ):
        detail = Detail.RETRY_WAIT
    return _fail(site, run, attempt, detail, reason, caller=caller)


def finish_try(
    site: Site, run: Run, attempt: int, detail: Detail, reason: Failure, *, caller: Caller
) -> Conclusion:
    """End the run, or this try of it.

    Raises:
        Conflict: it is at another attempt by now.
    """
    now = site.clock()
    delay = timedelta(seconds=caller.retry_delay_s.get(reason.failure_class, 0))
    try:
        ended = site.store.finish(
            run.id,
            detail=detail,
            failure=reason,
            clears=caller.clears,
            retry_at=now + delay if detail is Detail.RETRY_WAIT else None,
            attempt=attempt,
            now=now,
        )
    except Conflict:  # it was ended by somebody else, or shall be cancelled by now
        found = site.store.get(run.id).detail
        ended = site.store.finish(
            run.id,
            detail=found if terminal(found) else Detail.CANCELLED,
            failure=CANCELLED,
            clears=caller.clears,
            attempt=attempt,
            now=site.clock(),
        )
    return Conclusion(ended, reason)


def _last_word(site: Site, run: Run, attempt: AttemptState) -> tuple[AttemptState, Outcome]:
    """A driver whose lease is over is LOST, unless it only waits for the database to listen."""
    site.store.lost(attempt.run_id, attempt=attempt.number, now=site.clock())
    backend = site.backend_of(run.backend)
    for _ in range(LAST_WORD_LOOKS):
        attempt = site.store.attempt_state(attempt.attempt_id)
        if attempt.ended:
            return attempt, Outcome.ENDED
        if not attempt.lapsed:
            raise DriverCame(attempt)
        if attempt.external_id and backend.is_alive(attempt.external_id) is False:
            break
        time.sleep(LOOK_EVERY_S)
    return attempt, Outcome.LAPSED


def _give_up(
    site: Site, run: Run, attempt: AttemptState, why: Outcome
) -> tuple[AttemptState, Outcome]:
    """Fence a driver off, unless it has come, or has ended, since it was looked at."""
    still = UNCLAIMED if why is Outcome.UNCLAIMED else UNCLAIMED | {Detail.RUNNING}
    if give_up(
        site.store, run, attempt, only_if=still, backend_of=site.backend_of, now=site.clock()
    ):
        return attempt, why
    attempt = site.store.attempt_state(attempt.attempt_id)
    if not attempt.ended:
        raise DriverCame(attempt)
    return attempt, Outcome.ENDED


def _publish(
    site: Site, run: Run, attempt: AttemptState, *, caller: Caller, gate: Gate
) -> Conclusion:
    """Check the staged outputs, make them the tables' content, end the run.

    What stops this for a while leaves the run as it is: the next try of the task goes on, or
    the reconciliation does.
    """
    found = site.store.finalizing(run.id, site.clock(), attempt=attempt.number)
    if found.detail is not Detail.FINALIZING:
        return _fail(site, run, attempt, Detail.CANCELLED, CANCELLED, caller=caller)
    try:
        result = finalize(
            site.store,
            run,
            attempt.attempt_id,
            lake=site.lake,
            gate=gate,
            may_retry=caller.may_retry,
            now=site.clock(),
        )
    except JobFailed as error:
        return _refuse(site, run, attempt, _rejected(error), caller=caller)
    except ConfigError as error:  # a suite that somebody broke meanwhile
        reason = Failure(FailureClass.CONFIG, str(error))
        return _refuse(site, run, attempt, reason, caller=caller)
    except Conflict:
        raise
    except Unavailable as error:
        if caller.may_retry or site.clock() - _finalizing_since(site, run) < PUBLISH_WITHIN:
            raise
        hours = PUBLISH_WITHIN.total_seconds() / 3600
        message = f"Its outputs could not be published for {hours:g} hours: {error.problem}"
        reason = Failure(FailureClass.INFRA, message)
        return _refuse(site, run, attempt, reason, caller=caller)
    except Exception as error:
        if not caller.may_retry:  # nobody comes again, and time does not mend it
            problem = error.problem if isinstance(error, DataHarbourError) else repr(error)
            reason = Failure(FailureClass.INFRA, f"Publishing failed: {problem}")
            _refuse(site, run, attempt, reason, caller=caller)
        raise
    done = site.store.finish(
        run.id,
        detail=Detail.SUCCEEDED,
        result=result,
        clears=caller.clears,
        attempt=attempt.number,
        now=site.clock(),
    )
    return Conclusion(done, None)


def _finalizing_since(site: Site, run: Run) -> datetime:
    return next(e.at for e in site.store.events(run.id) if e.new == Detail.FINALIZING)


def _refuse(
    site: Site, run: Run, attempt: AttemptState, reason: Failure, *, caller: Caller
) -> Conclusion:
    """End a run whose outputs may not be published, and say which tables show them already."""
    shown = []
    with suppress(Unavailable):
        shown = shown_tables(run, attempt.attempt_id, lake=site.lake)
    if shown:  # an earlier try was stopped between two tables
        message = f"{reason.message}\nPublished before that: {', '.join(shown)}."
        reason = replace(reason, message=message)
    return _fail(site, run, attempt, Detail.FAILED, reason, caller=caller)


def _fail(
    site: Site, run: Run, attempt: AttemptState, detail: Detail, reason: Failure, *, caller: Caller
) -> Conclusion:
    """End the run, or this try of it, and then remove what the attempt staged."""
    concluded = finish_try(site, run, attempt.number, detail, reason, caller=caller)
    discard(run, attempt.attempt_id, lake=site.lake)
    return concluded


def _rejected(error: JobFailed) -> Failure:
    checked = isinstance(error, (QualityFailed, QualityUnchecked))
    failure_class = FailureClass.QUALITY if checked else FailureClass.USER_ERROR
    return Failure(failure_class, f"{error.problem}\n{error.remedy}")
