"""Decide whether a document declares a job: by the schema of job files, and by what it cannot say.

Files (`declared`) and documents that come over REST are held to the same rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from dataharbour.errors import Conflict, JobInvalid
from dataharbour.jobs.conf import check_conf
from dataharbour.jobs.job_spec import JobSpec, check_value
from dataharbour.jobs.json_pointer import step
from dataharbour.jobs.model import Occasion, Output
from dataharbour.jobs.notebooks import check_notebook
from dataharbour.jobs.placeholders import placeholders, resolve_args
from dataharbour.jobs.schedules import contradiction, moment
from dataharbour.jobs.storable import place_of_nul
from dataharbour.jobs.table_owners import clash
from dataharbour.packaged import read_packaged

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_ANY_DAY = datetime(2026, 1, 31, tzinfo=UTC)
_ANY_OCCASION = Occasion(_ANY_DAY, _ANY_DAY, _ANY_DAY, partition_key="2026-01-31")


def check_document(name: str, document: Any, *, beside: Iterable[JobSpec] = ()) -> JobSpec:
    """The job that a document declares, by the rules of job files.

    Args:
        name: of the job.
        document: what its file would say.
        beside: the other jobs that there are.

    Raises:
        JobInvalid: it is no name or no job; the message repeats no value of the document.
        Conflict: a table of it is another job's.
    """
    check_name(name, name)
    document = _days_as_text(document)
    breaches = breaches_of(document)
    if breaches:
        raise invalid(name, "; ".join(f"{place or '/'} {rule}" for place, rule in breaches[:5]))
    spec = spec_of(Path(name), document)
    for other in beside:
        table = clash(spec, other) if other.name != name else None
        if table is not None:
            raise Conflict(
                f"The table {table!r} of the job {name} is, lies in, or holds one of the job "
                f"{other.name}.",
                "A table is one job's alone: write into another one.",
            )
    return spec


def breaches_of(document: Any) -> list[tuple[str, str]]:
    """Where a document breaks the schema: JSON pointer and rule, without the values."""
    found = sorted(_validator().iter_errors(document), key=lambda e: list(map(str, e.path)))
    return [("".join(map(step, e.absolute_path)), _rule(e)) for e in found]


def spec_of(path: Path, document: Any) -> JobSpec:
    """The job that a document declares, named after its file.

    Raises:
        JobInvalid: it is none.
        ConfNotAllowed: a setting of it is none that a job may have.
    """
    document = _days_as_text(document)
    problems = sorted(_validator().iter_errors(document), key=lambda e: list(map(str, e.path)))
    if problems:
        raise invalid(path, "; ".join(map(_sentence, problems[:5])))
    if (place := place_of_nul(document)) is not None:
        raise invalid(path, f"{place}: holds the character NUL")
    values = {"name": path.stem, **_defaults(), **document}
    if values["name"] != path.stem:
        raise invalid(path, f"name: {values['name']!r} is not the name of the file")
    backend = values["backend"]
    spec = JobSpec(
        **{
            **values,
            "args": tuple(values["args"]),
            "retry_on": tuple(values["retry_on"]),
            "inputs": tuple(values["inputs"]),
            "conf": check_conf(values["conf"], backend=backend),
            "outputs": tuple(
                Output(o["table"], tuple(o.get("partitioned_by", ()))) for o in values["outputs"]
            ),
        },
        path=path,
        document=document,
    )
    _check_meaning(spec)
    return spec


def check_name(name: str, where: object) -> None:
    """Refuse what is no name of a job; `where` says what was to have it.

    Raises:
        JobInvalid: it is none.
    """
    if _NAME.fullmatch(name) is None:
        raise JobInvalid(
            f"{str(where)[:200]}: {name[:120]!r} is no name of a job.",
            "Name it with small letters, digits and _, a letter first, at most 100.",
        )


def invalid(path: Path | str, problem: str) -> JobInvalid:
    """The error of a file (or of a job's name) with this problem."""
    return JobInvalid(
        f"{path}: {problem}.",
        "Correct it; the schema, include/schemas/job.schema.json, describes every field.",
    )


def _rule(error: Any) -> str:
    """The rule that was broken. jsonschema's own words repeat the value, which may be a secret."""
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"needs the fields {', '.join(missing)}"
    if error.validator == "additionalProperties" and error.validator_value is False:
        known = error.schema.get("properties", {})
        unknown = sorted(str(name)[:60] for name in error.instance if name not in known)
        return f"has fields that are unknown: {', '.join(unknown)[:300]}"
    rule = json.dumps(error.validator_value, default=str)[:200]
    name = "a name in it " if "propertyNames" in error.absolute_schema_path else ""
    return f"{name}breaks the rule {error.validator}: {rule}"


def _sentence(error: Any) -> str:
    where = ".".join(map(str, error.path))
    return f"{where}: {error.message}" if where else str(error.message)


def _days_as_text(document: Any) -> Any:
    """YAML makes dates of days and times that stand without quotes."""
    if not isinstance(document, dict):
        return document
    return document | {
        name: document[name].isoformat()
        for name in ("start", "end")
        if isinstance(document.get(name), date)
    }


def _check_meaning(spec: JobSpec) -> None:
    """What a schema cannot say."""
    if spec.timezone not in available_timezones():
        raise invalid(spec.path, f"timezone: {spec.timezone!r} is no IANA time zone")
    check_notebook(spec.application, backend=spec.backend, args=spec.args)
    _check_schedule(spec)
    tables = [output.table for output in spec.outputs]
    for table in tables:
        if any(other != table and f"{other}/".startswith(f"{table}/") for other in tables):
            raise invalid(spec.path, f"outputs: another table lies inside {table!r}")
    if len(set(tables)) < len(tables):
        raise invalid(spec.path, "outputs: a table is named twice")
    if spec.expectations and not tables:
        raise invalid(spec.path, "expectations: there are no outputs that could be checked")
    for name, schema in spec.params.items():
        _check_schema(spec, name, schema)
        if "default" in schema:
            check_value(spec.name, name, schema["default"], schema)
    empty = dict.fromkeys(spec.params, "")
    resolve_args(spec.args, lake="", output="", params=empty, occasion=_ANY_OCCASION)


def _check_schedule(spec: JobSpec) -> None:
    """Nobody is there to give values when a schedule starts a run."""
    timing = spec.timing
    if timing is None or timing.cron is None:
        fields = [name for name in ("start", "end", "catchup") if getattr(spec, name)]
        if fields:
            raise invalid(spec.path, f"{fields[0]}: needs a schedule with cron")
    if timing is None:
        return
    from croniter import croniter  # Airflow's own judge of cron expressions

    if wrong := contradiction(timing):
        raise invalid(spec.path, f"schedule: {wrong}")
    if timing.cron and not croniter.is_valid(timing.cron):
        raise invalid(spec.path, f"schedule: {timing.cron!r} is no cron expression")
    _check_dates(spec)
    needed = [name for name, schema in spec.params.items() if "default" not in schema]
    if needed:
        raise invalid(spec.path, f"schedule: params without default: {', '.join(needed)}")
    for name in sorted(placeholders(spec.args) - timing.gives):
        raise invalid(
            spec.path,
            f"args: {{{name}}} has no value in the runs of this schedule; write {{{name}|VALUE}}",
        )


def _check_dates(spec: JobSpec) -> None:
    for name in ("start", "end"):
        try:
            moment(getattr(spec, name), timezone="UTC")
        except ValueError as error:
            raise invalid(spec.path, f"{name}: {getattr(spec, name)!r}: {error}") from error
    if spec.start and spec.end and spec.end < spec.start:
        raise invalid(spec.path, "end: is before start")
    if spec.catchup and not spec.start:
        raise invalid(spec.path, "catchup: needs a start")


def _check_schema(spec: JobSpec, name: str, schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise invalid(spec.path, f"params.{name} is no JSON Schema: {_rule(error)}") from error


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(read_packaged("schemas/job.schema.json"))
    return schema


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # slow to import, and not needed while cached

    return Draft202012Validator(_schema())


def _defaults() -> dict[str, Any]:
    return {n: p["default"] for n, p in _schema()["properties"].items() if "default" in p}
