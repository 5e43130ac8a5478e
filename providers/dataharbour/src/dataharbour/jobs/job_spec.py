"""A declared job: what its file says, and the runs that follow from it.

Pure. `job_rules` makes it of a document, `declared` of the files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dataharbour.errors import JobInvalid
from dataharbour.jobs.conf import check_conf
from dataharbour.jobs.model import NO_OCCASION, Occasion, Output, RunRequest
from dataharbour.jobs.notebooks import check_notebook
from dataharbour.jobs.placeholders import resolve_args
from dataharbour.jobs.schedules import Schedule, schedule_of


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
            check_value(self.name, name, values[name], schema)
        return values


def check_value(job: str, name: str, value: Any, schema: Mapping[str, Any]) -> None:
    """Hold a value to the schema of its parameter.

    Raises:
        JobInvalid: it breaks a rule, which is named; the value is not.
    """
    from jsonschema import Draft202012Validator  # slow to import

    for error in Draft202012Validator(schema).iter_errors(value):
        # Neither the value nor jsonschema's message, which repeats it: it may be a secret.
        where = "".join(f"[{part!r}]" for part in error.absolute_path)
        rule = f"{error.validator}: {json.dumps(error.validator_value, default=str)}"
        raise JobInvalid(
            f"The parameter {name!r}{where[:100]} of the job {job} breaks its rule {rule[:200]}.",
            "See the job's parameters: its file, or its form in Airflow.",
        )
