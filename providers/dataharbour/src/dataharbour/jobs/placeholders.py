"""Fill the placeholders of a job's arguments.

Pure. ``{lake}`` is the URI of the data bucket, ``{output}`` the attempt's staging
root in it, ``{params.NAME}`` a parameter of the run; ``{{`` and ``}}`` are braces.

What the run is for: ``{logical_date}``, ``{data_interval_start}``,
``{data_interval_end}`` (ISO 8601 in UTC, or ``{logical_date:%Y-%m-%d}``, written in
the time zone of the job), and ``{partition_key}``. Not every run has them; one that
has not takes the default: ``{logical_date:%Y-%m-%d|2026-01-31}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from dataharbour.errors import ConfigError
from dataharbour.jobs.model import NO_OCCASION, Occasion

STAGING = ".attempts"
OF_THE_OCCASION = ("logical_date", "data_interval_start", "data_interval_end", "partition_key")
MAX_ARGS_BYTES = 64 * 1024  # of all arguments together; Linux takes 128 KiB for a single one

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_LIKE_A_PLACEHOLDER = re.compile(r"\{[\w. ]{0,80}\}")
_OF_THE_OCCASION = re.compile(
    r"(?P<name>logical_date|data_interval_start|data_interval_end|partition_key)"
    r"(:(?P<format>[^|]+))?(\|(?P<default>.*))?",
    re.DOTALL,
)
_FORMAT = re.compile(r"([^%]|%[YymdHMSjUVGuaAbBzZ%])+", re.DOTALL)


def output_root(lake: str, attempt_id: object) -> str:
    """Where an attempt writes; `output.publish` moves it from there."""
    return f"{lake}/{STAGING}/{attempt_id}"


def resolve_args(
    args: Iterable[str],
    *,
    lake: str,
    output: str,
    params: Mapping[str, Any],
    occasion: Occasion = NO_OCCASION,
) -> tuple[str, ...]:
    """The arguments as the application gets them.

    Args:
        args: as declared or requested.
        lake: URI of the data bucket, e.g. ``s3a://lake``.
        output: `output_root` of the attempt.
        params: the run's parameters; text is inserted as it is, all else as JSON.
        occasion: what the run is for.

    Raises:
        ConfigError: a placeholder is unknown, or asks for a date that the run has
            not and gives no default; a brace stands alone; or the arguments have
            more than `MAX_ARGS_BYTES`.
    """
    values = {"lake": lake, "output": output}
    values |= {f"params.{name}": _text(value) for name, value in params.items()}
    filled = tuple(_fill(arg, values, occasion, number=n) for n, arg in enumerate(args, start=1))
    size = sum(len(arg.encode("utf-8", "surrogatepass")) for arg in filled)
    if size > MAX_ARGS_BYTES:
        raise ConfigError(
            f"The arguments have {size:,} bytes; at most {MAX_ARGS_BYTES:,} can be given.",
            "Put long values into a file of the lake, and give its name.",
        )
    return filled


def placeholders(args: Iterable[str]) -> set[str]:
    """Names of the dates and keys that the arguments ask for and have no default for."""
    inside = (token[1] for arg in args for token in _TOKEN.finditer(arg) if token[1])
    found = filter(None, map(_OF_THE_OCCASION.fullmatch, inside))
    return {match["name"] for match in found if match["default"] is None}


def _fill(arg: str, values: Mapping[str, str], occasion: Occasion, *, number: int) -> str:
    def value(match: re.Match[str]) -> str:
        token, name = match[0], match[1]
        if token in ("{{", "}}"):
            return token[0]
        if name is not None and name in values:
            return values[name]
        if name is not None and (asked := _OF_THE_OCCASION.fullmatch(name)):
            return _told(asked, occasion, number=number)
        # An argument may hold a secret, and a brace of JSON: only what looks like a name is shown.
        shown = repr(token) if _LIKE_A_PLACEHOLDER.fullmatch(token) else "a brace"
        raise ConfigError(
            f"Argument {number} holds {shown}, which is no placeholder of this run.",
            f"Known: {', '.join('{' + known + '}' for known in (*values, *OF_THE_OCCASION))}; a "
            "job's own stand under params in its file. Write {{ and }} for plain braces.",
        )

    return _TOKEN.sub(value, arg)


def _told(asked: re.Match[str], occasion: Occasion, *, number: int) -> str:
    """The value of a placeholder that says what the run is for."""
    name, form, default = asked["name"], asked["format"], asked["default"]
    value: datetime | str | None = getattr(occasion, name)
    if form is not None and (name == "partition_key" or _FORMAT.fullmatch(form) is None):
        raise ConfigError(
            f"Argument {number} asks for {{{name}}} in a form that cannot be given.",
            "A date takes the letters of strftime, e.g. {logical_date:%Y-%m-%d}; a partition_key "
            "takes none.",
        )
    if value is None and default is None:
        raise ConfigError(
            f"Argument {number} holds {{{name}}}, and this run has no {name.replace('_', ' ')}.",
            "Runs of a schedule, of a backfill, or with a date that was given in Airflow have it. "
            f"For the others write a default: {{{name}|VALUE}}.",
        )
    if value is None:
        return default
    if isinstance(value, str):
        return value
    if form is None:
        return value.astimezone(UTC).isoformat()
    return value.astimezone(ZoneInfo(occasion.timezone)).strftime(form)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
