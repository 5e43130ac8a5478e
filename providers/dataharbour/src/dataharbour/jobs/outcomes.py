"""Decide what the newest attempt of a run means for the run.

Pure: what was seen goes in, a verdict comes out. `execute` acts on it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from dataharbour.jobs.model import (
    AttemptState,
    Desired,
    Detail,
    Failure,
    FailureClass,
    Run,
)
from dataharbour.jobs.states import terminal

STOP_WITHIN_S = (
    60.0  # a supervisor stops its driver in 5 s, and itself when its lease (30 s) is over
)

# Tried again while `retries` last; USER_ERROR only where the job says so, the others never.
RETRIED = frozenset({FailureClass.OUT_OF_MEMORY, FailureClass.INFRA, FailureClass.TIMEOUT})
MAY_BE_RETRIED = RETRIED | {FailureClass.USER_ERROR}

_NO_DRIVER = frozenset({Detail.ACCEPTED, Detail.QUEUED, Detail.RETRY_WAIT})
UNCLAIMED = frozenset({Detail.SUBMITTING, Detail.SUBMITTED})


class Step(StrEnum):
    """What a task does with the run it finds."""

    REFUSE = "REFUSE"  # the run ended before its task came
    START = "START"  # no driver: start one
    ADOPT = "ADOPT"  # an earlier try of the task started a driver: go on with that one
    CLOSE = "CLOSE"  # the run shall be cancelled: see it end


class Outcome(StrEnum):
    """Why there is nothing more to wait for."""

    ENDED = "ENDED"  # the driver has said its last word
    LAPSED = "LAPSED"  # the driver has not been heard of for a whole lease
    UNCLAIMED = "UNCLAIMED"  # the driver never came
    OVERDUE = "OVERDUE"  # its time is over, and nobody else has stopped it


@dataclass(frozen=True, slots=True)
class Patience:
    """Until when a driver is waited for, in seconds since the epoch.

    Attributes:
        since: when the wait began.
        claim_by: the driver has claimed its attempt.
        end_by: the driver has ended; None for no limit.
    """

    since: float
    claim_by: float
    end_by: float | None


def patience(
    *, claim_within_s: float, timeout_s: float | None, task_ends_at: float | None = None, now: float
) -> Patience:
    """How long to wait for a driver that starts at `now`.

    Args:
        claim_within_s: how long it may wait for its turn.
        timeout_s: of user code. Its supervisor keeps that itself; here it catches a supervisor
            that cannot.
        task_ends_at: when the task's own time is over; nobody else keeps that while the task
            is deferred.
        now: seconds since the epoch, as all moments.
    """
    claim_by = now + claim_within_s
    ends = [] if timeout_s is None else [claim_by + timeout_s + STOP_WITHIN_S]
    ends += [] if task_ends_at is None else [task_ends_at]
    return Patience(since=now, claim_by=claim_by, end_by=min(ends, default=None))


def step(run: Run) -> Step:
    """What a task does when it comes to `run`."""
    if terminal(run.detail):
        return Step.REFUSE
    if run.detail in _NO_DRIVER:
        return Step.START
    if run.desired is Desired.CANCELLED:
        return Step.CLOSE
    return Step.ADOPT


def outcome(
    attempt: AttemptState, *, patience: Patience, alive: bool | None, now: float
) -> Outcome | None:
    """Why to stop waiting for `attempt`, or None: go on waiting.

    Args:
        attempt: as just read.
        patience: from `patience`, when the wait began.
        alive: whether its process runs; None where this machine cannot tell.
        now: seconds since the epoch.
    """
    if attempt.ended:
        return Outcome.ENDED
    if attempt.lapsed:
        return Outcome.LAPSED
    ends_at = math.inf if patience.end_by is None else patience.end_by
    if attempt.observed in UNCLAIMED:
        never = alive is False and attempt.observed is Detail.SUBMITTED
        if never or patience.claim_by <= min(now, ends_at):  # which of the two came first
            return Outcome.UNCLAIMED
    return Outcome.OVERDUE if ends_at <= now else None


def failure_of(attempt: AttemptState, why: Outcome) -> tuple[Detail, Failure] | None:
    """How the attempt ended badly: the run's end and the reason; None for success."""
    if why is Outcome.OVERDUE:
        return Detail.TIMED_OUT, _reason(
            FailureClass.TIMEOUT,
            "Its time is over (timeout_s of the job, or execution_timeout of the task); the driver "
            "was stopped.",
        )
    if attempt.desired is Desired.CANCELLED or attempt.observed is Detail.CANCELLED:
        return Detail.CANCELLED, _reason(FailureClass.CANCELLED, "Cancelled while it ran.")
    if why is Outcome.UNCLAIMED:
        return Detail.FAILED, _reason(
            FailureClass.INFRA,
            "The driver was started and never reported: it cannot reach the database, or was "
            f"killed at once (attempt {attempt.attempt_id}; see its supervisor.log).",
        )
    if why is Outcome.LAPSED or attempt.observed is Detail.LOST:
        return Detail.FAILED, _reason(
            FailureClass.INFRA,
            "The driver was lost: it was killed, its machine went down, or it could not reach "
            "the database for 30 seconds and stopped itself.",
        )
    if attempt.observed is Detail.SUCCEEDED:
        return None
    fallback = _reason(FailureClass.INFRA, f"The driver ended with exit code {attempt.exit_code}.")
    return attempt.observed, attempt.failure or fallback


def goes_on(
    failed: Failure,
    why: Outcome,
    *,
    starts: int,
    attempts: int,
    may_retry: bool,
    retry_on: Collection[FailureClass] = (),
) -> bool:
    """Whether another attempt follows.

    Args:
        failed: why this one ended.
        why: how its end was seen.
        starts: how many drivers of the run have been given the right to start it so far.
        attempts: how many times the user's code may be started.
        may_retry: whether Airflow will run the task again.
        retry_on: classes that are tried again besides `RETRIED`.
    """
    if not may_retry or failed.failure_class not in RETRIED.union(retry_on) & MAY_BE_RETRIED:
        return False
    if why is Outcome.OVERDUE:  # to stop its driver, the run itself was given up
        return False
    return starts < attempts


def _reason(failure_class: FailureClass, message: str) -> Failure:
    return Failure(failure_class, message)
