"""Fill the placeholders of a job's arguments.

Pure. ``{lake}`` is the URI of the data bucket, ``{output}`` the attempt's staging
root in it, ``{params.NAME}`` a parameter of the run; ``{{`` and ``}}`` are braces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from dataharbour.errors import ConfigError

STAGING = ".attempts"

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def output_root(lake: str, attempt_id: object) -> str:
    """Where an attempt writes; `output.publish` moves it from there."""
    return f"{lake}/{STAGING}/{attempt_id}"


def resolve_args(
    args: Iterable[str], *, lake: str, output: str, params: Mapping[str, Any]
) -> tuple[str, ...]:
    """The arguments as the application gets them.

    Args:
        args: as declared or requested.
        lake: URI of the data bucket, e.g. ``s3a://lake``.
        output: `output_root` of the attempt.
        params: the run's parameters; text is inserted as it is, all else as JSON.

    Raises:
        ConfigError: a placeholder is unknown, or a brace stands alone.
    """
    values = {"lake": lake, "output": output}
    values |= {f"params.{name}": _text(value) for name, value in params.items()}
    return tuple(_fill(arg, values) for arg in args)


def _fill(arg: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        token, name = match[0], match[1]
        if token in ("{{", "}}"):
            return token[0]
        if name is not None and name in values:
            return values[name]
        raise ConfigError(
            f"The argument {arg!r} holds {token!r}, which is no placeholder of this run.",
            f"Known: {', '.join('{' + known + '}' for known in values)}. "
            "Write {{ and }} for plain braces.",
        )

    return _TOKEN.sub(value, arg)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
