"""How a task tells Airflow that its run, or an attempt of it, has failed.

Airflow's retry policy goes by the type of an exception, so each class of failure
that may be tried again has one. Whether it is tried again, `jobs.outcomes` has
decided before, and the run says so; the policy carries that out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowException

from dataharbour.errors import ConfigError
from dataharbour.jobs.model import FailureClass


class RunFailed(AirflowException):
    """The run has ended; no further try of its task changes that."""


class AttemptFailed(AirflowException):
    """An attempt has failed, and another follows."""


class UserError(AttemptFailed):
    """The application raised, and its job says to try that again."""


class OutOfMemory(AttemptFailed):
    """The driver or Spark ran out of memory."""


class TimedOut(AttemptFailed):
    """The attempt took longer than it may."""


class Infrastructure(AttemptFailed):
    """The driver was lost, or what it needs was not there."""


ATTEMPT_FAILED: Mapping[FailureClass, type[AttemptFailed]] = {
    FailureClass.USER_ERROR: UserError,
    FailureClass.OUT_OF_MEMORY: OutOfMemory,
    FailureClass.TIMEOUT: TimedOut,
    FailureClass.INFRA: Infrastructure,
}


def check_retries(retry_on: Collection[str], delays_s: Mapping[str, float]) -> None:
    """Refuse what names no class of failures that can be tried again, or no delay.

    Raises:
        ConfigError: that is the case.
    """
    for argument, given in (("retry_on", retry_on), ("retry_delays", delays_s)):
        if isinstance(given, str) or not set(given) <= set(ATTEMPT_FAILED):
            raise ConfigError(
                f"{argument}={given!r} does not name classes of failures that can be tried again.",
                f"Give a list (or, for delays, a mapping) of {', '.join(ATTEMPT_FAILED)}.",
            )
    for name, delay_s in delays_s.items():
        if not isinstance(delay_s, int | float) or delay_s < 0:
            raise ConfigError(
                f"retry_delays: {delay_s!r}, of {name}, is no number of seconds.",
                "Give a number, 0 or more.",
            )


def retry_policy(delays_s: Mapping[FailureClass, float]) -> ExceptionRetryPolicy:
    """Airflow's policy for the tries of a task.

    What is neither of ours (a database that is away, a worker that is stopped) is
    tried again in Airflow's usual way: the next try takes the run up.

    Args:
        delays_s: seconds until the next attempt, by class of the failure.
    """
    again = [
        RetryRule(
            exception=kind,
            action=RetryAction.RETRY,
            retry_delay=timedelta(seconds=delays_s.get(failure_class, 0)),
            reason=f"{failure_class} is tried again",
        )
        for failure_class, kind in ATTEMPT_FAILED.items()
    ]
    over = RetryRule(exception=RunFailed, action=RetryAction.FAIL, reason="The run has ended")
    return ExceptionRetryPolicy(rules=[over, *again])
