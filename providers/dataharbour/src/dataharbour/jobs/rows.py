"""Turn rows of the database into the words of `model`, and requests into columns.

Pure: dicts in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb

from dataharbour.jobs.model import (
    AttemptState,
    Desired,
    Detail,
    Event,
    Failure,
    FailureClass,
    Output,
    Run,
    RunRequest,
)

Row = Mapping[str, Any]

RUN_COLUMNS = """
    id, job, application, application_sha256, args, conf, params, labels, backend, detail, desired,
    version, attempt, dag_id, dag_run_id, task_id, map_index, principal, created_at, started_at,
    ended_at, failure_class, failure_message, outputs, expectations, timeout_s, progress, result,
    retry_of
"""

ATTEMPT_COLUMNS = """
    a.id as attempt_id, a.run_id, a.number, a.state as observed, r.desired, a.lease_until,
    a.state = 'RUNNING' and a.lease_until <= clock_timestamp() as lapsed,
    greatest(extract(epoch from a.lease_until - clock_timestamp()), 0)::float as lease_s,
    a.exit_code, a.failure_class, a.failure_message, a.progress, a.external_id
"""


def run_of(row: Row) -> Run:
    """One row of `run`."""
    values = _utc(row)
    return Run(
        args=tuple(values.pop("args")),
        detail=Detail(values.pop("detail")),
        desired=Desired(values.pop("desired")),
        outputs=tuple(_output(output) for output in values.pop("outputs")),
        failure=failure_of(values.pop("failure_class"), values.pop("failure_message")),
        **values,
    )


def attempt_of(row: Row) -> AttemptState:
    """One row of `attempt`, with what its run wants."""
    values = _utc(row)
    values.pop("lease_s")
    return AttemptState(
        observed=Detail(values.pop("observed")),
        desired=Desired(values.pop("desired")),
        failure=failure_of(values.pop("failure_class"), values.pop("failure_message")),
        **values,
    )


def event_of(row: Row) -> Event:
    """One row of `event`."""
    return Event(**_utc(row))


def failure_of(failure_class: str | None, message: str | None) -> Failure | None:
    """The two columns of a failure, or None where there is none."""
    return None if failure_class is None else Failure(FailureClass(failure_class), message or "")


def columns_of(request: RunRequest) -> dict[str, Any]:
    """What a request says, by the names of the columns."""
    return {
        "job": request.job,
        "application": request.application,
        "args": Jsonb(list(request.args)),
        "conf": Jsonb(dict(request.conf)),
        "params": Jsonb(dict(request.params)),
        "labels": Jsonb(dict(request.labels)),
        "backend": request.backend,
        "outputs": Jsonb(_outputs(request.outputs)),
        "expectations": request.expectations,
        "timeout_s": request.timeout_s,
    }


def _utc(row: Row) -> dict[str, Any]:
    """The server answers in its own time zone."""
    return {
        name: value.astimezone(UTC) if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def _outputs(outputs: Sequence[Output]) -> list[dict[str, Any]]:
    return [{"table": o.table, "partitioned_by": list(o.partitioned_by)} for o in outputs]


def _output(value: Row) -> Output:
    return Output(table=value["table"], partitioned_by=tuple(value["partitioned_by"]))
