"""The shapes of requests and answers, as OpenAPI shows them."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from dataharbour.jobs.backends.names import BackendName, Profile
from dataharbour.jobs.clusters import Cluster
from dataharbour.jobs.model import Desired, Detail, FailureClass, State
from dataharbour.jobs.placeholders import MAX_ARGS_BYTES
from dataharbour.jobs.queueing import Reason
from dataharbour.jobs.storable import place_of_nul

MAX_DEPTH = 64


def storable(value: Any) -> Any:
    """Refuse what JSON allows in a request and PostgreSQL cannot keep."""
    try:
        if depth(value) > MAX_DEPTH:
            raise RecursionError
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise ValueError("holds NaN, Infinity or half a surrogate pair") from error
    except RecursionError as error:
        raise ValueError(f"is nested more than {MAX_DEPTH} deep") from error
    if place_of_nul(value) is not None:
        raise ValueError("holds the character NUL")
    return value


def depth(value: Any) -> int:
    """How deep a JSON value is nested; a plain one is 0. Counts without recursion."""
    deepest, left = 0, [(value, 0)]
    while left:
        each, at = left.pop()
        inner = each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        deepest = max(deepest, at)
        left += [(one, at + 1) for one in inner]
    return deepest


Text = Annotated[str, AfterValidator(storable)]
# The limits of include/schemas/job.schema.json, for what has no file.
LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]
LabelValue = Annotated[Text, StringConstraints(max_length=200)]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=20)]
Argument = Annotated[Text, StringConstraints(max_length=MAX_ARGS_BYTES)]


class _Closed(BaseModel):
    """A request body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class StartJob(_Closed):
    """Start a run of a declared job."""

    params: Annotated[dict[str, Any], AfterValidator(storable)] = Field(
        default_factory=dict, description="Values of the job's own parameters."
    )
    labels: Labels = Field(default_factory=dict)


class StartRun(_Closed):
    """Start a run of any application below an allowed root."""

    application: Annotated[Text, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="A file name below an allowed root, or a path or file URI inside one.",
        examples=["flights_delays.py"],
    )
    args: Annotated[list[Argument], Field(max_length=100)] = Field(
        default_factory=list,
        description="May hold {lake} and {output}. At most 64 KiB together.",
    )
    conf: Annotated[dict[Text, str | bool | int | float], AfterValidator(storable)] = Field(
        default_factory=dict,
        description="Spark settings; which ones, the documentation lists.",
        examples=[{"spark.sql.shuffle.partitions": "8"}],
    )
    backend: BackendName = BackendName.CONNECT
    profile: Profile = Field(
        default=Profile.SHORT,
        description="How a Spark that starts for the run is tuned: `short` starts fastest, "
        "`standard` runs fastest.",
    )
    labels: Labels = Field(default_factory=dict)
    timeout_s: Annotated[float, Field(gt=0, le=7 * 86_400)] | None = Field(
        default=None, description="Seconds of user code; none: no limit."
    )


class CancelRun(_Closed):
    """How a run is cancelled."""

    grace_s: Annotated[float, Field(ge=0, le=600)] | None = Field(
        default=None,
        description="Seconds that the application gets from SIGTERM to SIGKILL; none: 5.",
    )


Progress = Annotated[
    dict[str, Any],
    Field(
        description="How far the driver is, as it last told: what it counts of `stages_done`, "
        "`stages`, `tasks_done`, `tasks` and more; of a notebook `cells_done`, `cells`.",
        examples=[{"stages_done": 1, "stages": 4, "tasks_done": 9, "tasks": 40}],
    ),
]
Metrics = Annotated[
    dict[str, Any],
    Field(
        description="What the driver's own processes used: `peak_memory_bytes`, `cpu_s`.",
        examples=[{"peak_memory_bytes": 674_000_000, "cpu_s": 11.8}],
    ),
]


class FailureResource(BaseModel):
    """Why a run failed."""

    model_config = ConfigDict(serialize_by_alias=True)

    failure_class: FailureClass = Field(alias="class")
    message: str


class OccasionResource(BaseModel):
    """What a run is for, as its DAG run in Airflow says it."""

    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    partition_key: str | None


class QueueResource(BaseModel):
    """Why a run waits."""

    reason: Reason
    message: str = Field(description="For people, e.g. `the pool small: 2 of 2 slots in use`.")
    position: int | None = Field(description="1 is the next one; null: the order is not known.")
    until: datetime | None = Field(description="When the wait is over, where that is known.")


class RunResource(BaseModel):
    """A run."""

    id: UUID
    job: str | None
    application: str
    backend: str
    state: State
    detail: Detail
    desired: Desired
    attempt: int
    dag_id: str
    dag_run_id: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None
    failure: FailureResource | None
    progress: Progress | None
    metrics: Metrics | None
    occasion: OccasionResource | None = Field(
        description="The date or partition that the run is for; null: none."
    )
    queue: QueueResource | None = Field(
        description="Why it is QUEUED; null: it is not, or that was not asked (only "
        "`GET runs/{run_id}` and the lists of runs do, `repairs` not)."
    )
    labels: dict[str, str]
    links: dict[str, str]


class RunList(BaseModel):
    """Runs, newest first."""

    items: list[RunResource]
    next: str | None


JobSource = Literal["git", "api", "local"]


class JobError(BaseModel):
    """Why a job's file could not be used."""

    code: str
    detail: str
    remedy: str


class OutputResource(BaseModel):
    """A table that a job writes."""

    table: str
    partitioned_by: list[str]


class JobResource(BaseModel):
    """A declared job. When it is broken, `error` says how, and what it declares is null."""

    name: str
    dag_id: str
    source: JobSource = Field(
        description="git: a file of include/jobs; api: stored by PUT; local: a hand-made file of "
        "this installation's state folder. Only those of api can be changed here."
    )
    version: int | None = Field(default=None, description="Of a stored job; grows by changes.")
    etag: str = Field(description="For If-Match.")
    changed_by: str | None = Field(default=None, description="Who stored this version.")
    changed_at: datetime | None = None
    description: str | None = None
    application: str | None = None
    args: list[str] | None = None
    params: dict[str, Any] | None = None
    conf: dict[str, str] | None = None
    backend: str | None = None
    schedule: str | dict[str, Any] | None = None
    timezone: str | None = None
    start: str | None = None
    end: str | None = None
    catchup: bool | None = None
    profile: str | None = None
    timeout_s: float | None = None
    retries: int | None = None
    retry_on: list[str] | None = None
    max_concurrent_runs: int | None = None
    on_busy: str | None = None
    deadline: dict[str, Any] | None = None
    inputs: list[str] | None = None
    outputs: list[OutputResource] | None = None
    expectations: str | None = None
    labels: dict[str, str] | None = None
    error: JobError | None = None
    links: dict[str, str]


class JobDetail(JobResource):
    """A declared job, with the document that declares it."""

    definition: dict[str, Any] | None = Field(
        default=None,
        description="What its file says, to be changed and sent back by PUT. Null where the file "
        "cannot be read.",
    )


class JobList(BaseModel):
    """Jobs by name."""

    items: list[JobResource]
    next: str | None = None


class LogLineResource(BaseModel):
    """One line that a driver wrote."""

    at: datetime
    stream: str
    line: str


class LogResource(BaseModel):
    """Lines of a run's log; `next` continues after them, and is null once `complete`."""

    items: list[LogLineResource]
    next: str | None
    complete: bool


class AttemptResource(BaseModel):
    """One start of a run's application."""

    id: UUID
    number: int = Field(description="1 for the first of the run.")
    backend: str
    state: Detail = Field(description="SUBMITTING, SUBMITTED, RUNNING, or how it ended.")
    external_id: str | None = Field(description="The backend's name for its driver.")
    holder: str | None = Field(description="Host and process of the supervisor that claimed it.")
    created_at: datetime
    submitted_at: datetime | None = Field(description="The backend took it.")
    claimed_at: datetime | None = Field(description="Its driver came, and user code began.")
    lease_until: datetime | None = Field(description="Until when its driver is taken for alive.")
    ended_at: datetime | None
    exit_code: int | None
    failure: FailureResource | None
    progress: Progress | None
    metrics: Metrics | None
    log_lines: int


class AttemptList(BaseModel):
    """Attempts, oldest first."""

    items: list[AttemptResource]
    next: str | None = None


class ArtifactResource(BaseModel):
    """A file that an attempt left, e.g. the executed notebook."""

    name: str
    attempt: int
    bytes: int
    modified_at: datetime
    links: dict[str, str]


class ArtifactList(BaseModel):
    """Artifacts, those of the newest attempt first."""

    items: list[ArtifactResource]
    next: str | None = None


class EventResource(BaseModel):
    """One change of a run or of its attempt."""

    id: int
    at: datetime
    kind: str
    old: str | None
    new: str | None
    attempt_id: UUID | None
    actor: str
    data: dict[str, Any]


class EventList(BaseModel):
    """Events, oldest first; `next` continues after them, and is null once the run has ended."""

    items: list[EventResource]
    next: str | None


class ProblemDetail(BaseModel):
    """What is wrong with one field."""

    detail: str
    pointer: str | None = Field(default=None, description="Place in the body (RFC 6901).")
    parameter: str | None = Field(default=None, description="Name of a query parameter or header.")


class Problem(BaseModel):
    """A failure (RFC 9457); machines match on `code`."""

    title: str
    status: int
    code: str
    detail: str
    remedy: str
    errors: list[ProblemDetail]


class DashboardStats(BaseModel):
    """How runs stand. Rates and durations are null where there is nothing to measure."""

    since: datetime
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    success_rate: float | None
    duration_p50_s: float | None
    duration_p95_s: float | None


class DayResource(BaseModel):
    """The runs that ended on one day (UTC)."""

    day: date
    succeeded: int
    failed: int
    cancelled: int
    duration_p50_s: float | None


class DashboardTrends(BaseModel):
    """Days, oldest first."""

    items: list[DayResource]


class WorkerResource(BaseModel):
    """A worker of a standalone cluster."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    host: str
    state: str = Field(description="As the master calls it: ALIVE, DEAD, …")
    cores: int
    cores_used: int
    memory_mb: int
    memory_used_mb: int


class WorkResource(BaseModel):
    """An application or a driver that a standalone cluster works on, or has in its queue."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="`app-…` or `driver-…`; the log of its run names it.")
    state: str = Field(description="As the master calls it: WAITING, RUNNING, SUBMITTED, …")
    cores: int
    since: datetime
    memory_mb: int | None = Field(description="Of a driver.")


class ClusterResource(BaseModel):
    """A Spark server at one moment; null: it does not tell."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="The backend that uses it.")
    state: Literal["healthy", "degraded", "unknown", "off"]
    reason: str | None = Field(description="Why it is not healthy.")
    address: str | None
    version: str | None
    cores: int | None = Field(description="Of the workers that live.")
    cores_used: int | None
    memory_mb: int | None
    memory_used_mb: int | None
    workers: list[WorkerResource] | None
    applications: list[WorkResource] | None
    drivers: list[WorkResource] | None
    running_jobs: int | None = Field(description="Spark jobs of all sessions of a Connect server.")
    observed_at: datetime

    @classmethod
    def of(cls, cluster: Cluster, now: datetime) -> ClusterResource:
        """The resource of what was seen."""
        names = set(cls.model_fields) - {"observed_at"}
        return cls.model_validate({name: getattr(cluster, name) for name in names}
                                  | {"observed_at": now})  # fmt: skip


class ClusterList(BaseModel):
    """The Spark servers."""

    items: list[ClusterResource]
    next: None = None
