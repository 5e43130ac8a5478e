"""Read the declared jobs: include/jobs/<name>.yaml, each checked by the schema.

The folders are those of `Settings.job_folders`; documents that come over REST
(`check_document`) are held to the same rules.

A file that is wrong takes away only its own job. Files are read again when they
change (size or time), so that parsing DAGs and answering requests stay cheap.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import yaml

from dataharbour.errors import Conflict, DataHarbourError, JobInvalid
from dataharbour.jobs.conf import check_conf
from dataharbour.jobs.model import NO_OCCASION, Occasion, Output, RunRequest
from dataharbour.jobs.notebooks import check_notebook
from dataharbour.jobs.placeholders import placeholders, resolve_args
from dataharbour.jobs.schedules import Schedule, contradiction, moment, schedule_of
from dataharbour.jobs.storable import place_of_nul
from dataharbour.packaged import read_packaged

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_ANY_DAY = datetime(2026, 1, 31, tzinfo=UTC)
_ANY_OCCASION = Occasion(_ANY_DAY, _ANY_DAY, _ANY_DAY, partition_key="2026-01-31")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class JobSpec:
    """A declared job; see include/schemas/job.schema.json for each field.

    `params` maps a name to its JSON Schema, whose `default` is the value when a
    run gives none. `path` is the file, `document` what it says.
    """

    name: str
    description: str
    application: str
    args: tuple[str, ...]
    params: Mapping[str, Mapping[str, Any]]
    conf: Mapping[str, str]
    backend: str
    schedule: str | Mapping[str, Any] | None
    timezone: str
    start: str | None
    end: str | None
    catchup: bool
    profile: str
    timeout_s: float | None
    retries: int
    retry_on: tuple[str, ...]
    retry_delay_s: float | Mapping[str, float]
    max_concurrent_runs: int
    on_busy: str
    deadline: Mapping[str, Any] | None
    pool: str
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]
    expectations: str | None
    labels: Mapping[str, str]
    path: Path
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def timing(self) -> Schedule | None:
        """The schedule in one form."""
        return schedule_of(self.schedule)

    def request(
        self,
        params: Mapping[str, Any],
        labels: Mapping[str, str] = {},
        *,
        backend: str | None = None,
        occasion: Occasion = NO_OCCASION,
    ) -> RunRequest:
        """A run of this job.

        Args:
            params: values for the job's parameters; defaults fill the rest.
            labels: added to the job's own.
            backend: instead of the declared one.
            occasion: the date or partition that the run is for.

        Raises:
            JobInvalid: a parameter is unknown, missing, or against its schema.
            ConfNotAllowed: the backend cannot honour a setting of the job.
            ConfigError: the values make the arguments too long, or they ask for a
                date that the run has not.
        """
        backend = backend or self.backend
        check_notebook(self.application, backend=backend, args=self.args)
        values = self._values(params)
        occasion = replace(occasion, timezone=self.timezone)
        resolve_args(self.args, lake="", output="", params=values, occasion=occasion)
        return RunRequest(
            job=self.name,
            application=self.application,
            args=self.args,
            conf=check_conf(self.conf, backend=backend),
            backend=backend,
            params=values,
            labels={**self.labels, **labels},
            timeout_s=self.timeout_s,
            profile=self.profile,
            outputs=self.outputs,
            expectations=self.expectations,
            occasion=occasion,
        )

    def _values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        known = ", ".join(self.params) or "none"
        for name in given:
            if name not in self.params:
                raise JobInvalid(
                    f"The job {self.name} has no parameter {name!r}.", f"It has: {known}."
                )
        values = {n: s["default"] for n, s in self.params.items() if "default" in s} | dict(given)
        for name, schema in self.params.items():
            if name not in values:
                raise JobInvalid(
                    f"The job {self.name} needs the parameter {name!r}.",
                    "Give it a value, or a default in the job's file.",
                )
            _check_value(self.name, name, values[name], schema)
        return values


@dataclass(frozen=True)
class DeclaredJobs:
    """The jobs by name, and what is wrong with the files that are none."""

    jobs: Mapping[str, JobSpec] = field(default_factory=dict)
    errors: Mapping[str, DataHarbourError] = field(default_factory=dict)


_Stamp = tuple[int, int, int]
_cache: dict[Path, tuple[_Stamp, JobSpec | DataHarbourError]] = {}


def load_jobs(*folders: Path) -> DeclaredJobs:
    """All jobs declared in `folders`; reads only files that changed.

    Of two files of one name the one in the earlier folder holds.
    """
    jobs: dict[str, JobSpec] = {}
    errors: dict[str, DataHarbourError] = {}
    owners: dict[str, str] = {}  # the job of each table
    around: dict[str, str] = {}  # a job that has a table in this folder
    files: dict[str, Path] = {}
    for folder in folders:
        files = {path.stem: path for path in folder.glob("*.yaml")} | files
    for _, path in sorted(files.items()):
        found = _cached(path)
        if isinstance(found, JobSpec):
            found = _overlap(found, owners, around) or found
        if isinstance(found, JobSpec):
            jobs[found.name] = found
            for output in found.outputs:
                owners[output.table] = found.name
                around |= dict.fromkeys(output.folders_above, found.name)
        else:
            errors[path.stem] = found
    return DeclaredJobs(jobs=jobs, errors=errors)


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
    _check_name(name, name)
    document = _days_as_text(document)
    breaches = breaches_of(document)
    if breaches:
        raise _invalid(name, "; ".join(f"{place or '/'} {rule}" for place, rule in breaches[:5]))
    spec = _spec(Path(name), document)
    for other in beside:
        clash = _overlap_of(spec, other) if other.name != name else None
        if clash is not None:
            raise Conflict(
                f"The table {clash!r} of the job {name} is, lies in, or holds one of the job "
                f"{other.name}.",
                "A table is one job's alone: write into another one.",
            )
    return spec


def breaches_of(document: Any) -> list[tuple[str, str]]:
    """Where a document breaks the schema: JSON pointer and rule, without the values."""
    found = sorted(_validator().iter_errors(document), key=lambda e: list(map(str, e.path)))
    return [("".join(f"/{_step(part)}" for part in e.absolute_path), _rule(e)) for e in found]


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


def _step(part: object) -> str:
    return str(part)[:100].replace("~", "~0").replace("/", "~1")


def _overlap_of(spec: JobSpec, other: JobSpec) -> str | None:
    """A table of `spec` that cannot be beside those of `other`."""
    theirs = [f"{output.table}/" for output in other.outputs]
    for output in spec.outputs:
        mine = f"{output.table}/"
        if any(mine.startswith(their) or their.startswith(mine) for their in theirs):
            return output.table
    return None


def _overlap(
    spec: JobSpec, owners: Mapping[str, str], around: Mapping[str, str]
) -> JobInvalid | None:
    """Why the job cannot be beside those before it: a table is one job's alone."""
    for output in spec.outputs:
        for folder in (output.table, *output.folders_above):
            if folder in owners:
                problem = f"is, or lies inside, the table {folder!r} of the job {owners[folder]}"
                return _invalid(spec.path, f"outputs: {output.table!r} {problem}")
        if output.table in around:
            problem = f"holds a table of the job {around[output.table]}"
            return _invalid(spec.path, f"outputs: {output.table!r} {problem}")
    return None


def _cached(path: Path) -> JobSpec | DataHarbourError:
    try:
        stat = path.stat()
    except OSError as error:
        return _invalid(path, f"it cannot be read ({error.strerror})")
    stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    known = _cache.get(path)
    if known is None or known[0] != stamp:
        known = _cache[path] = (stamp, _read(path))
    return known[1]


def _read(path: Path) -> JobSpec | DataHarbourError:
    try:
        _check_name(path.stem, path)
        return _spec(path, _document(path))
    except DataHarbourError as error:
        return error


def _check_name(name: str, where: object) -> None:
    if _NAME.fullmatch(name) is None:
        raise JobInvalid(
            f"{str(where)[:200]}: {name[:120]!r} is no name of a job.",
            "Name it with small letters, digits and _, a letter first, at most 100.",
        )


def _document(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(path, f"it cannot be read ({error})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise _invalid(path, f"{where}{getattr(error, 'problem', None) or error}") from error


def _spec(path: Path, document: Any) -> JobSpec:
    document = _days_as_text(document)
    problems = sorted(_validator().iter_errors(document), key=lambda e: list(map(str, e.path)))
    if problems:
        raise _invalid(path, "; ".join(map(_sentence, problems[:5])))
    if (place := place_of_nul(document)) is not None:
        raise _invalid(path, f"{place}: holds the character NUL")
    values = {"name": path.stem, **_defaults(), **document}
    if values["name"] != path.stem:
        raise _invalid(path, f"name: {values['name']!r} is not the name of the file")
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
        raise _invalid(spec.path, f"timezone: {spec.timezone!r} is no IANA time zone")
    check_notebook(spec.application, backend=spec.backend, args=spec.args)
    _check_schedule(spec)
    tables = [output.table for output in spec.outputs]
    for table in tables:
        if any(other != table and f"{other}/".startswith(f"{table}/") for other in tables):
            raise _invalid(spec.path, f"outputs: another table lies inside {table!r}")
    if len(set(tables)) < len(tables):
        raise _invalid(spec.path, "outputs: a table is named twice")
    if spec.expectations and not tables:
        raise _invalid(spec.path, "expectations: there are no outputs that could be checked")
    for name, schema in spec.params.items():
        _check_schema(spec, name, schema)
        if "default" in schema:
            _check_value(spec.name, name, schema["default"], schema)
    empty = dict.fromkeys(spec.params, "")
    resolve_args(spec.args, lake="", output="", params=empty, occasion=_ANY_OCCASION)


def _check_schedule(spec: JobSpec) -> None:
    """Nobody is there to give values when a schedule starts a run."""
    timing = spec.timing
    if timing is None or timing.cron is None:
        fields = [name for name in ("start", "end", "catchup") if getattr(spec, name)]
        if fields:
            raise _invalid(spec.path, f"{fields[0]}: needs a schedule with cron")
    if timing is None:
        return
    from croniter import croniter  # Airflow's own judge of cron expressions

    if wrong := contradiction(timing):
        raise _invalid(spec.path, f"schedule: {wrong}")
    if timing.cron and not croniter.is_valid(timing.cron):
        raise _invalid(spec.path, f"schedule: {timing.cron!r} is no cron expression")
    _check_dates(spec)
    needed = [name for name, schema in spec.params.items() if "default" not in schema]
    if needed:
        raise _invalid(spec.path, f"schedule: params without default: {', '.join(needed)}")
    for name in sorted(placeholders(spec.args) - timing.gives):
        raise _invalid(
            spec.path,
            f"args: {{{name}}} has no value in the runs of this schedule; write {{{name}|VALUE}}",
        )


def _check_dates(spec: JobSpec) -> None:
    for name in ("start", "end"):
        try:
            moment(getattr(spec, name), timezone="UTC")
        except ValueError as error:
            raise _invalid(spec.path, f"{name}: {getattr(spec, name)!r}: {error}") from error
    if spec.start and spec.end and spec.end < spec.start:
        raise _invalid(spec.path, "end: is before start")
    if spec.catchup and not spec.start:
        raise _invalid(spec.path, "catchup: needs a start")


def _check_schema(spec: JobSpec, name: str, schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise _invalid(spec.path, f"params.{name} is no JSON Schema: {_rule(error)}") from error


def _check_value(job: str, name: str, value: Any, schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(schema).iter_errors(value):
        # Neither the value nor jsonschema's message, which repeats it: it may be a secret.
        where = "".join(f"[{part!r}]" for part in error.absolute_path)
        rule = f"{error.validator}: {json.dumps(error.validator_value, default=str)}"
        raise JobInvalid(
            f"The parameter {name!r}{where[:100]} of the job {job} breaks its rule {rule[:200]}.",
            "See the job's parameters: its file, or its form in Airflow.",
        )


def _sentence(error: Any) -> str:
    where = ".".join(map(str, error.path))
    return f"{where}: {error.message}" if where else str(error.message)


def _invalid(path: Path | str, problem: str) -> JobInvalid:
    return JobInvalid(
        f"{path}: {problem}.",
        "Correct it; the schema, include/schemas/job.schema.json, describes every field.",
    )


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
