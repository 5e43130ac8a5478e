"""Turn what a task is given (context, params, connections) into what `jobs.execute` takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from dataharbour import settings
from dataharbour.clock import now
from dataharbour.errors import JobNotFound
from dataharbour.hooks.backends import backend_of
from dataharbour.hooks.database import DataHarbourDatabaseHook
from dataharbour.hooks.lake import LakeHook
from dataharbour.jobs.caller import Caller
from dataharbour.jobs.declared import load_jobs
from dataharbour.jobs.model import NO_OCCASION, FailureClass, Occasion, RunRequest
from dataharbour.jobs.site import Site

if TYPE_CHECKING:
    from airflow.sdk import Context

SCHEDULER = "airflow"  # the principal of runs that nobody in particular has triggered


def site_of_task(*, actor: str = "operator") -> Site:
    """This installation, by its settings and connections; events name the actor."""
    return Site(
        store=DataHarbourDatabaseHook().run_store(actor=actor),
        settings=settings.load(),
        lake=LakeHook().endpoint(),
        backend_of=backend_of,
        clock=now,
    )


def caller_of(
    context: Context,
    *,
    attempts: int,
    retry_on: Collection[str] = (),
    retry_delay_s: Mapping[FailureClass, float] = {},
) -> Caller:
    """The task instance, who triggered its DAG run, and how its failures are tried again."""
    ti, dag_run = context["ti"], context["dag_run"]
    return Caller(
        dag_id=ti.dag_id,
        dag_run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        principal=dag_run.triggering_user_name or SCHEDULER,
        clears=dag_run.clear_number or 0,
        attempts=attempts,
        task_try=ti.try_number,
        max_tries=ti.max_tries,
        may_retry=ti.try_number <= ti.max_tries,
        retry_on=frozenset(map(FailureClass, retry_on)),
        retry_delay_s=retry_delay_s,
    )


def occasion_of(context: Context, *, timezone: str = "UTC") -> Occasion:
    """What the DAG run is for.

    Args:
        context: of the task.
        timezone: in which dates are written for the application.
    """
    dag_run = context["dag_run"]
    return Occasion(
        logical_date=getattr(dag_run, "logical_date", None),
        data_interval_start=getattr(dag_run, "data_interval_start", None),
        data_interval_end=getattr(dag_run, "data_interval_end", None),
        partition_key=getattr(dag_run, "partition_key", None),
        timezone=timezone,
    )


def declared_request(
    job: str, params: Mapping[str, Any], occasion: Occasion = NO_OCCASION
) -> RunRequest:
    """A run of a declared job with these parameters, for this occasion.

    Raises:
        JobNotFound: there is no such file.
        JobInvalid: the file is broken, or the parameters do not fit.
    """
    folders = settings.load().job_folders
    declared = load_jobs(*folders)
    if job in declared.errors:
        raise declared.errors[job]
    if job not in declared.jobs:
        known = ", ".join(sorted(declared.jobs)) or "none"
        raise JobNotFound(f"There is no job {job!r} in {folders[0]}.", f"Known: {known}.")
    return declared.jobs[job].request(params, occasion=occasion)


def one_off_request(params: Mapping[str, Any], occasion: Occasion = NO_OCCASION) -> RunRequest:
    """What the form of the DAG `spark_job` says; empty fields come as null."""
    return RunRequest(
        application=params["application"],
        args=tuple(params.get("args") or ()),
        conf=params.get("conf") or {},
        backend=params.get("backend") or RunRequest.backend,
        labels=params.get("labels") or {},
        timeout_s=params.get("timeout_s"),
        profile=params.get("profile") or RunRequest.profile,
        occasion=occasion,
    )
