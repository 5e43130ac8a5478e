"""Turn runs, jobs, events and log pages into what REST shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from dataharbour.api.catalog import JobOrigin
from dataharbour.api.schemas.jobs import JobDetail, JobError, OutputResource
from dataharbour.api.schemas.runs import (
    AttemptResource,
    EventResource,
    FailureResource,
    LogLineResource,
    LogResource,
    OccasionResource,
    QueueResource,
    RunResource,
)
from dataharbour.errors import DataHarbourError
from dataharbour.jobs.job_spec import JobSpec
from dataharbour.jobs.model import (
    ONE_OFF_DAG,
    Attempt,
    Event,
    Failure,
    LogPage,
    Occasion,
    Run,
)
from dataharbour.jobs.notebooks import is_notebook
from dataharbour.jobs.queueing import Queue
from dataharbour.jobs.secrets import redact, redact_text

TASK_ID = "run"

_shown = lru_cache(maxsize=1024)(redact_text)  # a list of failed runs has the same texts often


def dag_of(job: str | None) -> str:
    """The DAG that runs a declared job, or any application."""
    return ONE_OFF_DAG if job is None else f"job__{job}"


def run_resource(run: Run, *, mount: str, queue: Queue | None = None) -> RunResource:
    """A run.

    Args:
        run: as the database has it.
        mount: path of the API, e.g. ``/dataharbour``; the links start with it.
        queue: why it waits.
    """
    here = run_address(run, mount=mount)
    kept = {"artifacts": f"{here}/artifacts"} if is_notebook(run.application) else {}
    repeats = {"retry_of": f"{mount}/api/v1/runs/{run.retry_of}"} if run.retry_of else {}
    return RunResource(
        id=run.id,
        job=run.job,
        application=run.application,
        backend=run.backend,
        state=run.state,
        detail=run.detail,
        desired=run.desired,
        attempt=run.attempt,
        dag_id=run.dag_id,
        dag_run_id=run.dag_run_id,
        created_at=run.created_at.astimezone(UTC),
        started_at=_utc(run.started_at),
        ended_at=_utc(run.ended_at),
        duration_s=run.duration_s,
        failure=_failure(run.failure),
        progress=run.progress,
        metrics=run.metrics,
        occasion=_occasion(run.occasion),
        queue=None if queue is None else queue_resource(queue),
        labels=dict(run.labels),
        links={
            "self": here,
            "logs": f"{here}/logs",
            "events": f"{here}/events",
            "attempts": f"{here}/attempts",
            "repairs": f"{here}/repairs",
            "airflow": f"{_airflow(mount)}/dags/{run.dag_id}/runs/{run.dag_run_id}",
            **kept,
            **repeats,
        },
    )


def run_address(run: Run, *, mount: str) -> str:
    """Where a run is found; see `run_resource` for `mount`."""
    return f"{mount}/api/v1/runs/{run.id}"


def job_resource(spec: JobSpec, origin: JobOrigin, *, mount: str) -> JobDetail:
    """A job whose file is sound."""
    return JobDetail(
        name=spec.name,
        dag_id=dag_of(spec.name),
        description=spec.description,
        application=spec.application,
        args=list(spec.args),
        params={name: dict(schema) for name, schema in spec.params.items()},
        conf=dict(spec.conf),
        backend=spec.backend,
        schedule=dict(spec.schedule) if isinstance(spec.schedule, Mapping) else spec.schedule,
        timezone=spec.timezone,
        start=spec.start,
        end=spec.end,
        catchup=spec.catchup,
        profile=spec.profile,
        timeout_s=spec.timeout_s,
        retries=spec.retries,
        retry_on=list(spec.retry_on),
        max_concurrent_runs=spec.max_concurrent_runs,
        on_busy=spec.on_busy,
        deadline=None if spec.deadline is None else dict(spec.deadline),
        inputs=list(spec.inputs),
        outputs=[
            OutputResource(table=output.table, partitioned_by=list(output.partitioned_by))
            for output in spec.outputs
        ],
        expectations=spec.expectations,
        labels=dict(spec.labels),
        links=_job_links(spec.name, mount),
        **vars(origin),
    )


def broken_job_resource(
    name: str, error: DataHarbourError, origin: JobOrigin, *, mount: str
) -> JobDetail:
    """A job whose file is broken."""
    return JobDetail(
        name=name,
        dag_id=dag_of(name),
        error=JobError(code=error.code, detail=redact_text(error.problem), remedy=error.remedy),
        links=_job_links(name, mount),
        **vars(origin),
    )


def log_resource(page: LogPage) -> LogResource:
    """A page of a log."""
    items = [
        LogLineResource(at=line.at.astimezone(UTC), stream=line.stream, line=line.line)
        for line in page.items
    ]
    return LogResource(items=items, next=page.next, complete=page.complete)


def attempt_resource(attempt: Attempt, *, history_url: str | None) -> AttemptResource:
    """One attempt."""
    return AttemptResource(
        id=attempt.attempt_id,
        number=attempt.number,
        backend=attempt.backend,
        state=attempt.observed,
        external_id=attempt.external_id,
        holder=attempt.holder,
        created_at=attempt.created_at.astimezone(UTC),
        submitted_at=_utc(attempt.submitted_at),
        claimed_at=_utc(attempt.claimed_at),
        lease_until=_utc(attempt.lease_until),
        ended_at=_utc(attempt.ended_at),
        exit_code=attempt.exit_code,
        failure=_failure(attempt.failure),
        progress=attempt.progress,
        metrics=attempt.metrics,
        log_lines=attempt.log_lines,
        history_url=history_url,
    )


def event_resource(event: Event) -> EventResource:
    """One event."""
    return EventResource(
        id=event.id,
        at=event.at.astimezone(UTC),
        kind=event.kind,
        old=event.old,
        new=event.new,
        attempt_id=event.attempt_id,
        actor=event.actor,
        data=redact(event.data),
    )


def _failure(failure: Failure | None) -> FailureResource | None:
    if failure is None:
        return None
    return FailureResource.model_validate(
        {"class": failure.failure_class, "message": _shown(failure.message)}
    )


def queue_resource(queue: Queue) -> QueueResource:
    """Why a run waits."""
    return QueueResource(
        reason=queue.reason,
        message=queue.message,
        position=queue.position,
        until=_utc(queue.until),
    )


def _occasion(occasion: Occasion) -> OccasionResource | None:
    if not occasion:
        return None
    return OccasionResource(
        logical_date=_utc(occasion.logical_date),
        data_interval_start=_utc(occasion.data_interval_start),
        data_interval_end=_utc(occasion.data_interval_end),
        partition_key=occasion.partition_key,
    )


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def _airflow(mount: str) -> str:
    return mount.rpartition("/")[0]


def _job_links(name: str, mount: str) -> dict[str, str]:
    here = f"{mount}/api/v1/jobs/{name}"
    return {
        "self": here,
        "runs": f"{here}/runs",
        "airflow": f"{_airflow(mount)}/dags/{dag_of(name)}",
    }
