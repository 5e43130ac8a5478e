"""Print results: plain text for people, JSON for machines."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dataharbour.platform.bootstrap.checks import Check


# Control characters but line feed and tab, and those that turn the direction of writing.
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

_BREAKS = re.compile(r"[\n\t]")


class Form(StrEnum):
    """In which form a verb prints its data."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[Form, typer.Option("--output", "-o", help="text or json.")]


def json_document(value: Any) -> None:
    """`value` as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def status(found: dict[str, Any], *, output: Form) -> None:
    """The platform's state."""
    if output is Form.JSON:
        json_document(found)
        return
    if not found["services"]:
        sys.stdout.write(f"The platform in {found['home']} is down. Start it: ./harbour up\n")
        return
    rows = [("SERVICE", "STATE", "PID", "PORT", "SINCE")]
    rows += [
        (s["name"], s["state"], str(s["pid"] or ""), _ports(s), s["since"] or "")
        for s in found["services"]
    ]
    table(rows)
    word = "ready" if found["ready"] else f"not ready: {found['lacks']}"
    sys.stdout.write(f"\n{word}   {found['url']}   state folder {found['home']}\n")


def _ports(service: dict[str, Any]) -> str:
    """The port, and what others are for: ``17077, rest 16066, ui 18081``."""
    further = [f"{purpose} {port}" for purpose, port in service["further_ports"].items()]
    return ", ".join([str(service["port"] or ""), *further])


def checks(found: Iterable[Check], *, output: Form) -> None:
    """What `doctor` saw."""
    if output is Form.JSON:
        json_document([check.as_json() for check in found])
        return
    for check in found:
        sys.stdout.write(f"{check}\n")


def plain(text: str) -> str:
    r"""A text of somebody else, without the characters that command a terminal.

    >>> plain("a\x1b[31mb")
    'a[31mb'
    """
    return _COMMANDS.sub("", text)


def say(text: str) -> None:
    """Tell people something beside the data: on standard error."""
    sys.stderr.write(plain(text) + "\n")
    sys.stderr.flush()


def table(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell."""
    rows = [tuple(_BREAKS.sub(" ", plain(cell)) for cell in row) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")
    sys.stdout.flush()  # before what is said next on standard error
