"""The words of a run: states, requests, runs, attempts, events and log lines.

Pure: values only. `states` says which change is allowed, `store` keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

from dataharbour.errors import ConfigError

ONE_OFF_DAG = "spark_job"  # runs any application
TABLE = r"[a-z][a-z0-9_]{0,62}(/[a-z][a-z0-9_]{0,62}){1,5}"  # as include/schemas/job.schema.json

T = TypeVar("T")


class State(StrEnum):
    """What people see of a run."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"


class Detail(StrEnum):
    """The fine state of a run; the ones an attempt can be in are `ATTEMPT_DETAILS`."""

    ACCEPTED = "ACCEPTED"
    QUEUED = "QUEUED"
    SUBMITTING = "SUBMITTING"
    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    FINALIZING = "FINALIZING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    SKIPPED = "SKIPPED"
    CANCELLING = "CANCELLING"
    RETRY_WAIT = "RETRY_WAIT"
    LOST = "LOST"


class Desired(StrEnum):
    """What the owner of a run wants; kept apart from what is observed."""

    SUCCEEDED = "SUCCEEDED"
    CANCELLED = "CANCELLED"


class FailureClass(StrEnum):
    """Who can mend a failure."""

    USER_ERROR = "USER_ERROR"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    TIMEOUT = "TIMEOUT"
    INFRA = "INFRA"
    QUALITY = "QUALITY"
    CONFIG = "CONFIG"
    CANCELLED = "CANCELLED"


STATE_OF: Mapping[Detail, State] = {
    Detail.ACCEPTED: State.QUEUED,
    Detail.QUEUED: State.QUEUED,
    Detail.SUBMITTING: State.QUEUED,
    Detail.SUBMITTED: State.QUEUED,
    Detail.RETRY_WAIT: State.QUEUED,
    Detail.RUNNING: State.RUNNING,
    Detail.FINALIZING: State.RUNNING,
    Detail.CANCELLING: State.RUNNING,
    Detail.SUCCEEDED: State.SUCCEEDED,
    Detail.FAILED: State.FAILED,
    Detail.TIMED_OUT: State.FAILED,
    Detail.CANCELLED: State.CANCELLED,
    Detail.SKIPPED: State.CANCELLED,
    Detail.LOST: State.LOST,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run or an attempt failed; the first line of `message` is the root cause."""

    failure_class: FailureClass
    message: str


@dataclass(frozen=True, slots=True)
class Output:
    """A table that a job writes, e.g. ``gold/delays_by_carrier``, below the lake.

    Raises:
        ConfigError: that is no name of a table.
    """

    table: str
    partitioned_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Publishing deletes what else is in the table's folder: it must be a table's alone."""
        if re.fullmatch(TABLE, self.table) is None:
            raise ConfigError(
                f"{self.table!r} is no name of a table.",
                "Give a layer and a name, e.g. gold/sales: two to six parts, each of small "
                "letters, digits and _, a letter first.",
            )

    @property
    def folders_above(self) -> list[str]:
        """The folders that the table lies in: ``gold`` for ``gold/sales``."""
        parts = self.table.split("/")
        return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a run is for, as its Airflow DAG run says it; None for what that has not.

    Attributes:
        timezone: IANA name of the zone in which dates are written for the application.
    """

    logical_date: datetime | None = None
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    partition_key: str | None = None
    timezone: str = "UTC"

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return any((self.logical_date, self.data_interval_start, self.partition_key))


NO_OCCASION = Occasion()


@dataclass(frozen=True)
class RunRequest:
    """What somebody asks to be run.

    Attributes:
        application: the file as it was named in the request.
        args: arguments of the application, with the placeholders of `placeholders`.
        conf: Spark settings, already checked by `conf.check_conf`.
        backend: one of `backends.names.BackendName`.
        job: name of the declared job, or None for a one-off run.
        profile: how a Spark of the run's own is tuned, one of `backends.names.Profile`.
        timeout_s: seconds of user code, or None for no limit.
        expectations: name of the suite that gates the outputs, or None.
        occasion: the date or partition that the run is for.
    """

    application: str
    args: tuple[str, ...] = ()
    conf: Mapping[str, str] = field(default_factory=dict)
    backend: str = "connect"
    labels: Mapping[str, str] = field(default_factory=dict)
    job: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float | None = None
    outputs: tuple[Output, ...] = ()
    expectations: str | None = None
    occasion: Occasion = NO_OCCASION
    profile: str = "short"


@dataclass(frozen=True)
class Run:
    """One run as the database has it.

    `attempt` is the number of the newest attempt (0: none yet), `version`
    counts the changes, `map_index` is -1 outside mapped tasks, `retry_of` names
    the run that this one repeats, `is_current` says that no other run has taken its
    place in its DAG run, and `clears` says how often the DAG run had
    been cleared when its task was told this run's end (None: it was not told).
    `retry_at` is when the next attempt may begin, in RETRY_WAIT. `task_try` is the number of
    the try of its task that carries it on (None: none has come, or it is not known).
    `progress` and `metrics` (what the driver used) are the newest attempt's.
    """

    id: UUID
    job: str | None
    application: str
    application_sha256: str
    args: tuple[str, ...]
    conf: Mapping[str, str]
    params: Mapping[str, Any]
    labels: Mapping[str, str]
    backend: str
    detail: Detail
    desired: Desired
    version: int
    attempt: int
    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int
    principal: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    failure: Failure | None
    outputs: tuple[Output, ...]
    expectations: str | None
    timeout_s: float | None
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    retry_of: UUID | None = None
    clears: int | None = None
    is_current: bool = True
    occasion: Occasion = NO_OCCASION
    retry_at: datetime | None = None
    metrics: dict[str, Any] | None = None
    profile: str = "short"
    task_try: int | None = None
    task_max_tries: int | None = None

    @property
    def state(self) -> State:
        """The word for people."""
        return STATE_OF[self.detail]

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first start of user code to the end; None until both are known."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class AttemptGrant:
    """The right to start one driver; the only place where its token is in clear."""

    attempt_id: UUID
    run_id: UUID
    number: int
    fence: int
    token: str = field(repr=False)


@dataclass(frozen=True)
class AttemptState:
    """What is known of an attempt.

    Attributes:
        observed: SUBMITTING, SUBMITTED, RUNNING, or one of the ends.
        lapsed: it was RUNNING and its lease is over: the driver is dead or has stopped itself.
        ui_url: Spark's own pages on the driver, where they are known.
        metrics: what its processes used, `peak_memory_bytes` and `cpu_s`, as far as it is known.
    """

    attempt_id: UUID
    run_id: UUID
    number: int
    observed: Detail
    desired: Desired
    lease_until: datetime | None
    lapsed: bool
    exit_code: int | None
    failure: Failure | None
    progress: dict[str, Any] | None
    external_id: str | None
    ui_url: str | None
    metrics: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether the driver has said its last word."""
        return self.observed in ATTEMPT_ENDS


@dataclass(frozen=True)
class Attempt:
    """One attempt as people see it.

    Attributes:
        observed: SUBMITTING, SUBMITTED, RUNNING, or one of the ends.
        external_id: the backend's name for it.
        holder: host and process that claimed it.
        log_lines: how many lines its driver wrote.
    """

    attempt_id: UUID
    number: int
    backend: str
    observed: Detail
    external_id: str | None
    holder: str | None
    created_at: datetime
    submitted_at: datetime | None
    claimed_at: datetime | None
    lease_until: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    failure: Failure | None
    progress: dict[str, Any] | None
    metrics: dict[str, Any] | None
    log_lines: int


ATTEMPT_ENDS = frozenset(
    {Detail.SUCCEEDED, Detail.FAILED, Detail.CANCELLED, Detail.TIMED_OUT, Detail.LOST}
)


@dataclass(frozen=True)
class Event:
    """One change, as the append-only table has it; `kind` is e.g. ``run.changed``."""

    id: int
    at: datetime
    kind: str
    old: str | None
    new: str | None
    run_id: UUID | None
    attempt_id: UUID | None
    actor: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a driver wrote; `stream` is ``stdout``, ``stderr`` or ``harbour``."""

    at: datetime
    stream: str
    line: str


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines of a log; `next` continues after them, and is None once `complete`."""

    items: list[LogLine]
    next: str | None
    complete: bool


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `next` is the cursor of the following one, or None."""

    items: list[T]
    next: str | None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are wanted; every field narrows it further, None does not.

    Attributes:
        state: runs in this state.
        job: runs of this declared job.
        dag_ids: runs of these DAGs; empty for none at all.
        labels: runs that carry all of these.
        principal: runs that this user wanted.
        since: runs made at this moment or later.
        until: runs made before this moment.
    """

    state: State | None = None
    job: str | None = None
    dag_ids: Collection[str] | None = None
    labels: Mapping[str, str] | None = None
    principal: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def request_of(run: Run) -> RunRequest:
    """What was asked for when the run was made."""
    return RunRequest(
        application=run.application,
        args=run.args,
        conf=run.conf,
        backend=run.backend,
        labels=run.labels,
        job=run.job,
        params=run.params,
        timeout_s=run.timeout_s,
        outputs=run.outputs,
        expectations=run.expectations,
        occasion=run.occasion,
        profile=run.profile,
    )
