"""Read what somebody gave to ``harbour job``: pairs, parameters, names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from dataharbour.cli.client import Client


def given(**options: Any) -> dict[str, Any]:
    """The options that somebody gave."""
    return {name: value for name, value in options.items() if value not in (None, {}, [])}


def refuse(options: Mapping[str, Any], why: str) -> None:
    """Refuse options that somebody gave; none is fine.

    Raises:
        BadParameter: there is one.
    """
    for name in options:
        option = {"args": "--arg", "timeout_s": "--timeout"}.get(name, f"--{name}")
        raise typer.BadParameter(f"{option} {why}")


def pairs(given: Iterable[str] | None, option: str) -> dict[str, str]:
    """What was given as NAME=VALUE, several times.

    Raises:
        BadParameter: one is something else.
    """
    pairs = {}
    for item in given or ():
        name, equals, value = item.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{option} {item!r} is not NAME=VALUE.")
        pairs[name] = value
    return pairs


def job_params(client: Client, job: str, given: Mapping[str, str]) -> dict[str, Any]:
    """The parameters as the job declares their types; asks the API only when there are any."""
    if not given:
        return {}
    declared = client.get(f"jobs/{segment(job)}").get("params") or {}
    return {name: parse_param(value, declared.get(name, {})) for name, value in given.items()}


def parse_param(text: str, schema: Mapping[str, Any]) -> Any:
    """The value that `text` means for a parameter with this JSON Schema.

    >>> parse_param("3", {"type": "integer"}), parse_param("3", {"type": "string"})
    (3, '3')
    """
    types = schema.get("type", [])
    if types == "string" or (isinstance(types, list) and "string" in types and text != "null"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def segment(name: str) -> str:
    """A name as a segment of an address."""
    from urllib.parse import quote

    return quote(name, safe="")


def is_run_id(text: str) -> bool:
    """Whether it can be the id of a run; jobs have other names."""
    from uuid import UUID

    try:
        UUID(text)
    except ValueError:
        return False
    return True
