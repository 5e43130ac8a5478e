"""Accept a run: write its row, start its DAG run, acknowledge. In this order, whatever breaks."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from starlette.concurrency import run_in_threadpool

from dataharbour.api.access import Caller
from dataharbour.api.airflow_rest import DagNotReady, RefusedByAirflow
from dataharbour.api.keys import dag_run_id
from dataharbour.api.resources import TASK_ID, dag_of
from dataharbour.api.services import Services
from dataharbour.errors import Conflict, Forbidden, NotAuthenticated, RunNotFound
from dataharbour.jobs.model import Detail, Run, RunRequest
from dataharbour.jobs.secrets import check_request, redact

REFUSALS = (RefusedByAirflow, DagNotReady, Forbidden, NotAuthenticated)


@dataclass(frozen=True)
class Submission:
    """A checked request.

    Attributes:
        request: what shall run.
        application_sha256: hash of the application at this moment.
        dag_conf: what Airflow's DAG run gets as its conf.
        key: the Idempotency-Key.
        fingerprint: hash of the request's body.
        retry_of: the run that this one repeats.
    """

    request: RunRequest
    application_sha256: str
    dag_conf: dict[str, Any]
    key: str
    fingerprint: str
    retry_of: UUID | None = None

    @property
    def dag_id(self) -> str:
        """The DAG that will run it."""
        return dag_of(self.request.job)


@dataclass(frozen=True)
class Asked:
    """Which request this is, before it is known whether it is a sound one.

    Attributes:
        dag_id: the DAG that would run it.
        key: the Idempotency-Key.
        fingerprint: hash of the request's body.
    """

    dag_id: str
    key: str
    fingerprint: str


def started_before(services: Services, caller: Caller, asked: Asked) -> Run | None:
    """The run that this request has started already.

    Looked up before the request is checked: what was right when the run was started may be so no
    more (the job was changed or deleted, its application is gone), and the answer stays the same.

    Raises:
        IdempotencyConflict: the key was used for something else.
    """
    return services.runs.accepted_by_key(
        principal=caller.name,
        dag_id=asked.dag_id,
        idempotency_key=asked.key,
        fingerprint=asked.fingerprint,
    )


async def accept_run(
    services: Services, submission: Submission | Run, *, caller: Caller
) -> tuple[Run, bool]:
    """Make a submission a run that Airflow has taken; one that is a run already stays so.

    Until this returns nothing is acknowledged: after any failure in between
    the same request with the same key completes it.

    Returns:
        The run, and whether an earlier request had made it (replayed).

    Raises:
        IdempotencyConflict: the key was used for something else.
        SecretInRequest: a value of the request is one.
        LimitReached: the caller has too many runs already.
        Unavailable: the database or Airflow did not answer; send it again.
        NotAuthenticated, Forbidden, RefusedByAirflow: Airflow says no; nothing is kept.
    """
    if isinstance(submission, Run):
        return submission, True
    run, replayed, shown = await run_in_threadpool(_write_row, services, submission, caller)
    if replayed and run.detail is not Detail.ACCEPTED:
        return run, True
    try:
        await services.airflow.trigger(
            run.dag_id,
            dag_run_id=run.dag_run_id,
            conf=shown,
            credential=caller.credential,
        )
    except REFUSALS:
        if not replayed:  # else the request that made the row may be succeeding just now
            await run_in_threadpool(_discard, services, run.id)
        raise
    return await run_in_threadpool(services.runs.queued, run.id, now=services.now()), replayed


def _write_row(
    services: Services, submission: Submission, caller: Caller
) -> tuple[Run, bool, dict[str, Any]]:
    """The run, whether it was there, and the conf of its DAG run; in a thread: texts are searched.

    What runs is in our row; the conf is shown.
    """
    check_request(submission.request)
    run, replayed = services.runs.accept(
        submission.request,
        application_sha256=submission.application_sha256,
        principal=caller.name,
        dag_id=submission.dag_id,
        dag_run_id=dag_run_id(
            principal=caller.name,
            subject=submission.request.job or submission.dag_id,
            key=submission.key,
        ),
        task_id=TASK_ID,
        idempotency_key=submission.key,
        fingerprint=submission.fingerprint,
        retry_of=submission.retry_of,
        max_open=services.settings.max_active_runs_per_user,
        now=services.now(),
    )
    return run, replayed, redact(submission.dag_conf)


def _discard(services: Services, run_id: UUID) -> None:
    with suppress(Conflict, RunNotFound):  # it has come further, or is gone already
        services.runs.discard(run_id)
