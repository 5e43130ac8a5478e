"""What is answered of runs: themselves, their attempts, logs, events and artifacts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from dataharbour.jobs.model import Desired, Detail, FailureClass, State
from dataharbour.jobs.queueing import Reason

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
        description="What the processes used that the driver's supervisor has started: "
        "`peak_memory_bytes`, `cpu_s`. Which these are depends on the backend.",
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
    history_url: str | None = Field(
        description="Spark's pages of the application, where its event log is kept."
    )


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
