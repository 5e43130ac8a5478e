"""Decide how a notebook is run as a job: where, and with which parameters. Pure.

A run's parameters are the notebook's: those of the job by their names, with their types, and each
argument ``NAME=VALUE``. Papermill puts them behind the cell that is tagged ``parameters``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from typing import Any

from dataharbour.errors import ConfigError

SUFFIX = ".ipynb"
BACKENDS = ("connect", "local")  # where the kernel and its driver share a machine


def is_notebook(application: str) -> bool:
    """Whether an application's name, path or URI is that of a notebook."""
    return application.endswith(SUFFIX)


def check_notebook(application: str, *, backend: str, args: Sequence[str]) -> None:
    """Refuse what a notebook cannot be run with; other applications may do as they like.

    Raises:
        ConfigError: the backend runs no notebooks, or an argument is no parameter.
    """
    if not is_notebook(application):
        return
    if backend not in BACKENDS:
        raise ConfigError(
            f"The backend {backend} runs no notebooks.", f"Use one of: {', '.join(BACKENDS)}."
        )
    parameters(args, {})


def parameters(args: Sequence[str], params: Mapping[str, Any]) -> dict[str, Any]:
    """What the notebook's parameters are set to; an argument holds against a parameter of the job.

    Args:
        args: ``NAME=VALUE``, with the placeholders filled. A value that is JSON has its type, any
            other is text: ``month=7``, ``day="7"``, ``city=New York``.
        params: the run's parameters.

    Raises:
        ConfigError: an argument is not of that form, or a name is none of Python's.
    """
    values = dict(params)
    for number, arg in enumerate(args, start=1):
        name, equals, text = arg.partition("=")
        if not equals:
            raise ConfigError(  # without the argument, which may hold a secret
                f"Argument {number} of a notebook is not NAME=VALUE.",
                "Name the parameter that it sets: month=7, output={output}.",
            )
        values[name] = _value(text)
    for name in values:
        if not name.isidentifier() or iskeyword(name):
            raise ConfigError(
                f"{name[:60]!r} cannot be a notebook's parameter.",
                "Use a name that Python takes for a variable.",
            )
    return values


def is_code(cell: Any) -> bool:
    """Whether a cell of a notebook is run."""
    return cell["cell_type"] == "code" and bool("".join(cell["source"]).strip())


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(name: str) -> Any:
    """NaN and its like are no JSON."""
    raise ValueError(name)
