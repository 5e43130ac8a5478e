"""Turn job files into DAGs, and the parameters of a run into trigger forms.

Deterministic: the same files give the same DAGs, so that parsing makes no new
DAG version. Reads the job files and the names of the applications; nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import (  # type: ignore[attr-defined]  # its stubs have no deadlines
    DAG,
    AssetAll,
    AssetAny,
    AssetOrTimeSchedule,
    AsyncCallback,
    CronDataIntervalTimetable,
    CronPartitionTimetable,
    CronTriggerTimetable,
    DeadlineAlert,
    DeadlineReference,
    IdentityMapper,
    Param,
    PartitionedAssetTimetable,
    StartOfDayMapper,
    StartOfHourMapper,
    StartOfMonthMapper,
    StartOfQuarterMapper,
    StartOfWeekMapper,
    StartOfYearMapper,
)

from dataharbour import settings
from dataharbour.errors import JobInvalid
from dataharbour.jobs.backends.names import ABOUT, ABOUT_PROFILES, BackendName, Profile
from dataharbour.jobs.declared import load_jobs
from dataharbour.jobs.job_spec import JobSpec
from dataharbour.jobs.schedules import Schedule, moment
from dataharbour.operators.spark_job import SparkJobOperator
from dataharbour.operators.tables import asset_of

TASK_ID = "run"
FOLDERS = ("the include folder", "the state folder")  # of job files, as `Settings.job_folders`
MAX_SUGGESTIONS = 50
RETRY_DELAY_S = 60  # the schema's default
DEADLINE_MISSED = "dataharbour.triggers.deadline.deadline_missed"
SKIPPERS = 16  # runs beyond `max_concurrent_runs` that may be active until they have skipped

_MAPPERS = {
    "same": IdentityMapper,
    "hour": StartOfHourMapper,
    "day": StartOfDayMapper,
    "week": StartOfWeekMapper,
    "month": StartOfMonthMapper,
    "quarter": StartOfQuarterMapper,
    "year": StartOfYearMapper,
}

log = logging.getLogger(__name__)


def job_dags() -> dict[str, DAG]:
    """One DAG per declared job, by DAG id; a broken file takes away only its own.

    What is broken is among Airflow's import errors (`refuse_broken_jobs`), in the
    list of jobs and in ``harbour doctor``; what only Airflow refuses is in its log.
    """
    folders = settings.load().job_folders
    declared, kept_in = load_jobs(*folders), dict(zip(folders, FOLDERS, strict=True))
    dags: dict[str, DAG] = {}
    errors: dict[str, object] = dict(declared.errors)
    for name, spec in sorted(declared.jobs.items()):
        try:
            dags[f"job__{name}"] = job_dag(spec, kept_in=kept_in[spec.path.parent])
        except Exception as error:  # whatever Airflow has against it: the others stay
            errors[name] = error
    for name, found in sorted(errors.items()):
        log.error("Job %s has no DAG: %s", name, found)
    return dags


def refuse_broken_jobs() -> None:
    """Raise what is wrong with the job files, all in one.

    Raises:
        JobInvalid: some job file is broken.
    """
    errors = load_jobs(*settings.load().job_folders).errors
    if errors:
        listed = "\n".join(f"{name}: {error.problem}" for name, error in sorted(errors.items()))
        raise JobInvalid(
            f"{len(errors)} broken job files:\n{listed}",
            "Correct them; include/schemas/job.schema.json describes every field.",
        )


def job_dag(spec: JobSpec, *, kept_in: str) -> DAG:
    """The DAG of one job: a schedule, a form and one task.

    Args:
        spec: the job.
        kept_in: which folder holds its file, for people.
    """
    with DAG(
        dag_id=f"job__{spec.name}",
        description=spec.description.strip().split("\n")[0],
        schedule=_schedule(spec),
        start_date=moment(spec.start, timezone=spec.timezone),
        end_date=moment(spec.end, timezone=spec.timezone, whole_day=True),
        catchup=spec.catchup,
        max_active_runs=spec.max_concurrent_runs + (SKIPPERS if spec.on_busy == "skip" else 0),
        deadline=_deadline(spec),
        params={name: _param(schema) for name, schema in spec.params.items()},
        tags=["dataharbour", "job"],
        doc_md=_doc(spec, kept_in),
    ) as dag:
        SparkJobOperator(
            task_id=TASK_ID,
            job=spec.name,
            retries=spec.retries,
            retry_on=spec.retry_on,
            **_delays(spec),
            max_concurrent_runs=spec.max_concurrent_runs if spec.on_busy == "skip" else None,
            pool=spec.pool,
            inputs=spec.inputs,
            outputs=spec.outputs,
        )
    return dag


def one_off_params() -> dict[str, Param]:
    """The form of `spark_job`; its names are those of ``POST /dataharbour/api/v1/runs``.

    Where a field may be left empty Airflow's form sends null, so null is a
    value of every optional field.
    """
    return {
        "application": Param(
            type="string",
            minLength=1,
            title="Application",
            description="A Python file below the allowed application folders, or a notebook: its "
            "path there.",
            examples=_applications(settings.load().applications),
        ),
        "args": Param(
            [],
            type=["array", "null"],
            items={"type": "string"},
            title="Arguments",
            description="One a line (of a notebook: NAME=VALUE). `{lake}` and `{output}` stand for "
            "the lake and the run's own output folder.",
        ),
        "conf": Param(
            {},
            type=["object", "null"],
            additionalProperties={"type": ["string", "number", "boolean"]},
            title="Spark settings",
            description='E.g. {"spark.sql.shuffle.partitions": "4"}; the keys are allow-listed.',
        ),
        "backend": Param(
            "connect",
            type="string",
            enum=[str(name) for name in BackendName],
            values_display={str(name): f"{name}: {about}" for name, about in ABOUT.items()},
            title="Backend",
            description="Where the application runs.",
        ),
        "profile": Param(
            str(Profile.SHORT),
            type="string",
            enum=[str(name) for name in Profile],
            values_display={str(n): f"{n}: {about}" for n, about in ABOUT_PROFILES.items()},
            title="Profile",
            description="How a Spark that starts for the run is tuned (backend `local`).",
        ),
        "labels": Param(
            {},
            type=["object", "null"],
            additionalProperties={"type": "string"},
            title="Labels",
            description="Names and values to find the run by.",
        ),
        "timeout_s": Param(
            None,
            type=["number", "null"],
            exclusiveMinimum=0,
            maximum=7 * 86_400,
            title="Time limit",
            description="Seconds of user code after which the run is stopped; empty: no limit.",
        ),
    }


def _schedule(spec: JobSpec) -> Any:
    """Airflow's form of the schedule: a timetable, an asset condition, or None."""
    timing = spec.timing
    if timing is None:
        return None
    if not timing.assets:
        return _timetable(timing, spec.timezone)
    found = [asset_of(name) for name in timing.assets]
    condition = found[0] if len(found) == 1 else _condition(timing.when, found)
    if timing.partition_by:
        mapper = _MAPPERS[timing.partition_by]
        zone = {} if mapper is IdentityMapper else {"timezone": spec.timezone}
        return PartitionedAssetTimetable(assets=condition, default_partition_mapper=mapper(**zone))
    if timing.cron:
        return AssetOrTimeSchedule(assets=condition, timetable=_timetable(timing, spec.timezone))
    return condition


def _condition(when: str, assets: list[Any]) -> AssetAll | AssetAny:
    return AssetAll(*assets) if when == "all" else AssetAny(*assets)


def _timetable(timing: Schedule, zone: str) -> Any:
    assert timing.cron, "asked for schedules with cron"
    if timing.partition_key:
        return CronPartitionTimetable(
            timing.cron,
            timezone=zone,
            run_offset=timing.partition_offset,
            key_format=timing.partition_key,
        )
    if timing.data_interval:
        return CronDataIntervalTimetable(timing.cron, timezone=zone)
    return CronTriggerTimetable(timing.cron, timezone=zone)


def _deadline(spec: JobSpec) -> DeadlineAlert | None:
    if spec.deadline is None:
        return None
    by_date = spec.deadline.get("of") == "logical_date"
    return DeadlineAlert(
        name=f"{spec.name} has ended",
        reference=DeadlineReference.DAGRUN_LOGICAL_DATE
        if by_date
        else DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=spec.deadline["within_s"]),
        callback=AsyncCallback(DEADLINE_MISSED, kwargs={"job": spec.name}),
    )


def _delays(spec: JobSpec) -> dict[str, Any]:
    """How long a failed run waits: Airflow's own delay, and those of some classes of failures."""
    said = spec.retry_delay_s
    if isinstance(said, Mapping):
        return {"retry_delay": timedelta(seconds=RETRY_DELAY_S), "retry_delays": dict(said)}
    return {"retry_delay": timedelta(seconds=said)}


def _param(schema: Mapping[str, Any]) -> Param:
    rest = {key: value for key, value in schema.items() if key not in {"default", "description"}}
    description = schema.get("description")
    if "default" in schema:
        return Param(schema["default"], description=description, schema=rest)
    return Param(description=description, schema=rest)


def _doc(spec: JobSpec, kept_in: str) -> str:
    lines = [
        spec.description.strip(),
        "",
        f"Declared in `jobs/{spec.path.name}` of {kept_in}. "
        f"Application `{spec.application}`, backend `{spec.backend}`.",
        "",
        *(f"* reads `{name}`" for name in spec.inputs),
        *(f"* writes the table `{output.table}`" for output in spec.outputs),
    ]
    if spec.expectations:
        lines.append(f"* nothing is published unless the suite `{spec.expectations}` holds")
    return "\n".join([*lines, "", "Runbook: docs/runbooks/jobs.md"])


def _applications(roots: Iterable[Path]) -> list[str]:
    # Without notebooks, which come and go: a new name would be a new version of the DAG.
    names = {
        path.relative_to(root).as_posix()
        for root in roots
        for path in root.rglob("*.py")
        if not path.name.startswith("_")
    }
    return sorted(names)[:MAX_SUGGESTIONS]
