"""Turn rows of the database into the words of `model`, and requests into columns.

Pure: dicts in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb

from dataharbour.jobs.model import (
    Attempt,
    AttemptState,
    Desired,
    Detail,
    Event,
    Failure,
    FailureClass,
    Occasion,
    Output,
    Run,
    RunRequest,
)

Row = Mapping[str, Any]

_AS_THEY_ARE = [f.name for f in fields(Run) if f.name != "failure"]  # columns of `run`


def run_of(row: Row) -> Run:
    """One row of `run`; columns that are the database's own affair are left out."""
    values = _utc({name: row[name] for name in _AS_THEY_ARE})
    return Run(
        args=tuple(values.pop("args")),
        detail=Detail(values.pop("detail")),
        desired=Desired(values.pop("desired")),
        outputs=tuple(_output(output) for output in values.pop("outputs")),
        occasion=_occasion(values.pop("occasion")),
        failure=failure_of(row["failure_class"], row["failure_message"]),
        **values,
    )


def attempt_of(row: Row) -> AttemptState:
    """One row of the statement `attempt_state`."""
    values = _utc(row)
    values.pop("lease_s")
    return AttemptState(
        observed=Detail(values.pop("observed")),
        desired=Desired(values.pop("desired")),
        failure=failure_of(values.pop("failure_class"), values.pop("failure_message")),
        **values,
    )


def told_attempt_of(row: Row) -> Attempt:
    """One row of the statement `attempts_of_run`."""
    values = _utc(row)
    return Attempt(
        observed=Detail(values.pop("observed")),
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
        "profile": request.profile,
        "occasion": Jsonb(_said(request.occasion)) if request.occasion else None,
    }


def _utc(row: Row) -> dict[str, Any]:
    """The server answers in its own time zone."""
    return {
        name: value.astimezone(UTC) if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def _said(occasion: Occasion) -> dict[str, str]:
    values = {f.name: getattr(occasion, f.name) for f in fields(Occasion)}
    return {
        name: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
        if value is not None
    }


def _occasion(value: Row | None) -> Occasion:
    as_they_are = {"partition_key", "timezone"}
    values: dict[str, Any] = {
        name: said if name in as_they_are else datetime.fromisoformat(said)
        for name, said in (value or {}).items()
    }
    return Occasion(**values)


def _outputs(outputs: Sequence[Output]) -> list[dict[str, Any]]:
    return [{"table": o.table, "partitioned_by": list(o.partitioned_by)} for o in outputs]


def _output(value: Row) -> Output:
    return Output(table=value["table"], partitioned_by=tuple(value["partitioned_by"]))
