from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from dataharbour.jobs.backends.start import CLAIM_WITHIN_S
from dataharbour.jobs.model import (
    AttemptState,
    Desired,
    Detail,
    Failure,
    FailureClass,
    Run,
)
from dataharbour.jobs.outcomes import (
    STOP_WITHIN_S,
    Outcome,
    Step,
    failure_of,
    goes_on,
    outcome,
    patience,
    step,
)
from dataharbour.jobs.states import TERMINAL

NOW = 1_000_000.0
UNCLAIMED = (Detail.SUBMITTING, Detail.SUBMITTED)
ENDS = (Detail.SUCCEEDED, Detail.FAILED, Detail.CANCELLED, Detail.TIMED_OUT, Detail.LOST)
BOOM = Failure(FailureClass.USER_ERROR, "ValueError: boom")
LOST = Failure(FailureClass.INFRA, "The driver was lost.")


def attempt(observed: Detail = Detail.RUNNING, **changes: Any) -> AttemptState:
    state = AttemptState(
        attempt_id=UUID(int=1),
        run_id=UUID(int=2),
        number=1,
        observed=observed,
        desired=Desired.SUCCEEDED,
        lease_until=None,
        lapsed=False,
        exit_code=None,
        failure=None,
        progress=None,
        external_id="host:1:1",
        ui_url=None,
    )
    return replace(state, **changes)


def run(detail: Detail, desired: Desired = Desired.SUCCEEDED) -> Run:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    return Run(
        id=UUID(int=2),
        job=None,
        application="app.py",
        application_sha256="",
        args=(),
        conf={},
        params={},
        labels={},
        backend="local",
        detail=detail,
        desired=desired,
        version=1,
        attempt=1,
        dag_id="spark_job",
        dag_run_id="r",
        task_id="run",
        map_index=-1,
        principal="ana",
        created_at=at,
        started_at=None,
        ended_at=None,
        failure=None,
        outputs=(),
        expectations=None,
        timeout_s=None,
        progress=None,
        result=None,
    )


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        (Detail.ACCEPTED, Step.START),
        (Detail.QUEUED, Step.START),
        (Detail.RETRY_WAIT, Step.START),
        (Detail.SUBMITTING, Step.ADOPT),
        (Detail.SUBMITTED, Step.ADOPT),
        (Detail.RUNNING, Step.ADOPT),
        (Detail.FINALIZING, Step.ADOPT),
        (Detail.LOST, Step.ADOPT),
        *((end, Step.REFUSE) for end in sorted(TERMINAL)),
    ],
)
def test_a_task_does_what_the_state_of_its_run_asks_for(detail, expected):
    assert step(run(detail)) is expected


def test_a_cancelled_run_with_a_driver_is_seen_to_its_end():
    assert step(run(Detail.CANCELLING, Desired.CANCELLED)) is Step.CLOSE


@pytest.mark.parametrize("observed", ENDS)
def test_the_last_word_of_a_driver_ends_the_wait(observed):
    wait = patience(claim_within_s=CLAIM_WITHIN_S, timeout_s=None, now=NOW)
    assert outcome(attempt(observed), patience=wait, alive=None, now=NOW) is Outcome.ENDED


def test_a_lapsed_lease_ends_the_wait():
    wait = patience(claim_within_s=CLAIM_WITHIN_S, timeout_s=None, now=NOW)
    lapsed = attempt(lapsed=True)
    assert outcome(lapsed, patience=wait, alive=True, now=NOW) is Outcome.LAPSED


@pytest.mark.parametrize(
    ("observed", "alive", "after_s", "expected"),
    [
        pytest.param(Detail.SUBMITTED, True, 1, None, id="it-starts"),
        pytest.param(Detail.SUBMITTED, None, 1, None, id="on-another-machine"),
        pytest.param(Detail.SUBMITTED, False, 1, Outcome.UNCLAIMED, id="it-died"),
        pytest.param(Detail.SUBMITTING, False, 1, None, id="its-pid-is-not-recorded-yet"),
        pytest.param(Detail.SUBMITTED, True, CLAIM_WITHIN_S, Outcome.UNCLAIMED, id="too-late"),
        pytest.param(Detail.SUBMITTING, None, CLAIM_WITHIN_S, Outcome.UNCLAIMED, id="never-sent"),
    ],
)
def test_a_driver_that_never_comes_ends_the_wait(observed, alive, after_s, expected):
    wait = patience(claim_within_s=CLAIM_WITHIN_S, timeout_s=None, now=NOW)
    found = outcome(attempt(observed), patience=wait, alive=alive, now=NOW + after_s)
    assert found is expected


def test_a_driver_is_overdue_only_when_its_supervisor_should_long_have_stopped_it():
    wait = patience(claim_within_s=CLAIM_WITHIN_S, timeout_s=100, now=NOW)
    limit = NOW + CLAIM_WITHIN_S + 100 + STOP_WITHIN_S
    assert outcome(attempt(), patience=wait, alive=True, now=limit - 1) is None
    assert outcome(attempt(), patience=wait, alive=True, now=limit) is Outcome.OVERDUE


@pytest.mark.parametrize("observed", [Detail.RUNNING, *UNCLAIMED])
def test_the_time_of_the_task_counts_wherever_its_driver_is(observed):
    """Airflow keeps no execution_timeout while the task is deferred."""
    wait = patience(claim_within_s=CLAIM_WITHIN_S, timeout_s=900, task_ends_at=NOW + 30, now=NOW)
    state = attempt(observed)
    assert outcome(state, patience=wait, alive=None, now=NOW + 29) is None
    for now in (NOW + 30, NOW * 2):  # nobody may have looked for a while
        assert outcome(state, patience=wait, alive=None, now=now) is Outcome.OVERDUE


@pytest.mark.parametrize("timeout_s", [None, 1])
def test_a_driver_that_had_not_come_in_time_is_no_matter_of_the_tasks_time(timeout_s):
    """However late somebody looks: the next try may start another driver."""
    ends_at = NOW + CLAIM_WITHIN_S + 1
    wait = patience(
        claim_within_s=CLAIM_WITHIN_S, timeout_s=timeout_s, task_ends_at=ends_at, now=NOW
    )
    found = outcome(attempt(Detail.SUBMITTED), patience=wait, alive=None, now=NOW * 2)
    assert found is Outcome.UNCLAIMED


def test_the_shorter_of_two_limits_holds():
    wait = patience(claim_within_s=CLAIM_WITHIN_S, timeout_s=1, task_ends_at=NOW * 2, now=NOW)
    limit = NOW + CLAIM_WITHIN_S + 1 + STOP_WITHIN_S
    assert outcome(attempt(), patience=wait, alive=True, now=limit) is Outcome.OVERDUE


def test_without_a_limit_a_driver_is_never_overdue():
    wait = patience(claim_within_s=CLAIM_WITHIN_S, timeout_s=None, now=NOW)
    assert outcome(attempt(), patience=wait, alive=True, now=NOW * 2) is None


@pytest.mark.parametrize(
    ("state", "why", "detail", "failure_class"),
    [
        pytest.param(
            attempt(Detail.FAILED, failure=BOOM),
            Outcome.ENDED,
            Detail.FAILED,
            FailureClass.USER_ERROR,
            id="by-itself",
        ),
        pytest.param(
            attempt(Detail.TIMED_OUT, failure=Failure(FailureClass.TIMEOUT, "late")),
            Outcome.ENDED,
            Detail.TIMED_OUT,
            FailureClass.TIMEOUT,
            id="by-its-supervisor",
        ),
        pytest.param(
            attempt(lapsed=True), Outcome.LAPSED, Detail.FAILED, FailureClass.INFRA, id="lost"
        ),
        pytest.param(
            attempt(Detail.LOST), Outcome.ENDED, Detail.FAILED, FailureClass.INFRA, id="fenced"
        ),
        pytest.param(
            attempt(Detail.SUBMITTED),
            Outcome.UNCLAIMED,
            Detail.FAILED,
            FailureClass.INFRA,
            id="never-came",
        ),
        pytest.param(
            attempt(), Outcome.OVERDUE, Detail.TIMED_OUT, FailureClass.TIMEOUT, id="overdue"
        ),
        pytest.param(
            attempt(desired=Desired.CANCELLED, observed=Detail.FAILED, failure=BOOM),
            Outcome.ENDED,
            Detail.CANCELLED,
            FailureClass.CANCELLED,
            id="fell-over-while-it-was-cancelled",
        ),
        pytest.param(
            attempt(desired=Desired.CANCELLED, observed=Detail.SUCCEEDED),
            Outcome.ENDED,
            Detail.CANCELLED,
            FailureClass.CANCELLED,
            id="cancelled-before-its-outputs-were-published",
        ),
        pytest.param(
            attempt(desired=Desired.CANCELLED),
            Outcome.OVERDUE,
            Detail.TIMED_OUT,
            FailureClass.TIMEOUT,
            id="overdue-and-therefore-cancelled",
        ),
    ],
)
def test_a_bad_end_has_a_reason(state, why, detail, failure_class):
    found = failure_of(state, why)
    assert found is not None
    assert (found[0], found[1].failure_class) == (detail, failure_class)
    assert found[1].message


def test_success_has_none():
    assert failure_of(attempt(Detail.SUCCEEDED), Outcome.ENDED) is None


def test_the_root_cause_stays_the_first_line():
    found = failure_of(attempt(Detail.FAILED, failure=BOOM), Outcome.ENDED)
    assert found is not None
    assert found[1] is BOOM


@pytest.mark.parametrize(
    ("failure_class", "repeated"),
    [
        (FailureClass.USER_ERROR, False),
        (FailureClass.OUT_OF_MEMORY, True),
        (FailureClass.TIMEOUT, True),
        (FailureClass.INFRA, True),
        (FailureClass.QUALITY, False),
        (FailureClass.CONFIG, False),
        (FailureClass.CANCELLED, False),
    ],
)
def test_what_a_repetition_cannot_mend_is_not_repeated(failure_class, repeated):
    failed = Failure(failure_class, "it failed")
    assert goes_on(failed, Outcome.ENDED, starts=1, attempts=2, may_retry=True) is repeated


@pytest.mark.parametrize("failure_class", FailureClass)
def test_a_job_may_have_its_own_errors_repeated_and_nothing_else(failure_class):
    again = goes_on(
        Failure(failure_class, "it failed"),
        Outcome.ENDED,
        starts=1,
        attempts=2,
        may_retry=True,
        retry_on=[failure_class],
    )
    assert again is (failure_class not in ("QUALITY", "CONFIG", "CANCELLED"))


def test_user_code_starts_no_more_often_than_the_job_says():
    for number, attempts in product(range(1, 5), range(1, 5)):
        again = goes_on(LOST, Outcome.ENDED, starts=number, attempts=attempts, may_retry=True)
        assert again is (number < attempts)


def test_an_attempt_without_user_code_does_not_count():
    for why in (Outcome.UNCLAIMED, Outcome.ENDED):  # ended: it was given up by an earlier try
        assert goes_on(LOST, why, starts=0, attempts=1, may_retry=True)


@pytest.mark.parametrize("why", Outcome)
def test_nothing_goes_on_when_airflow_does_not_come_again(why):
    assert not goes_on(LOST, why, starts=1, attempts=9, may_retry=False)
