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
MAX_ARGS_BYTES = 64 * 1024  # of all arguments together; Linux takes 128 KiB for a single one

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_LIKE_A_PLACEHOLDER = re.compile(r"\{[\w. ]{0,80}\}")


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
        ConfigError: a placeholder is unknown, a brace stands alone, or the
            arguments have more than `MAX_ARGS_BYTES`.
    """
    values = {"lake": lake, "output": output}
    values |= {f"params.{name}": _text(value) for name, value in params.items()}
    filled = tuple(_fill(arg, values, number=n) for n, arg in enumerate(args, start=1))
    size = sum(len(arg.encode("utf-8", "surrogatepass")) for arg in filled)
    if size > MAX_ARGS_BYTES:
        raise ConfigError(
            f"The arguments have {size:,} bytes; at most {MAX_ARGS_BYTES:,} can be given.",
            "Put long values into a file of the lake, and give its name.",
        )
    return filled


def _fill(arg: str, values: Mapping[str, str], *, number: int) -> str:
    def value(match: re.Match[str]) -> str:
        token, name = match[0], match[1]
        if token in ("{{", "}}"):
            return token[0]
        if name is not None and name in values:
            return values[name]
        # An argument may hold a secret, and a brace of JSON: only what looks like a name is shown.
        shown = repr(token) if _LIKE_A_PLACEHOLDER.fullmatch(token) else "a brace"
        raise ConfigError(
            f"Argument {number} holds {shown}, which is no placeholder of this run.",
            f"Known: {', '.join('{' + known + '}' for known in values)}. "
            "Write {{ and }} for plain braces.",
        )

    return _TOKEN.sub(value, arg)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
