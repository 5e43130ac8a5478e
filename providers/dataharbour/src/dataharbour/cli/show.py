"""Print results: plain text for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dataharbour.errors import DataHarbourError

if TYPE_CHECKING:
    from dataharbour.platform.bootstrap.checks import Check


def json_document(value: Any) -> None:
    """`value` as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def wants_json(output: str) -> bool:
    """Whether `-o` asks for JSON.

    Raises:
        DataHarbourError: it asks for something unknown.
    """
    if output not in ("text", "json"):
        raise DataHarbourError(f"Unknown output form {output!r}.", "Use -o text or -o json.")
    return output == "json"


def status(found: dict[str, Any], *, output: str) -> None:
    """The platform's state."""
    if wants_json(output):
        json_document(found)
        return
    if not found["services"]:
        sys.stdout.write(f"The platform in {found['home']} is down. Start it: ./harbour up\n")
        return
    rows = [("SERVICE", "STATE", "PID", "PORT", "SINCE")]
    rows += [
        (s["name"], s["state"], str(s["pid"] or ""), str(s["port"] or ""), s["since"] or "")
        for s in found["services"]
    ]
    table(rows)
    word = "ready" if found["ready"] else "not ready"
    sys.stdout.write(f"\n{word}   {found['url']}   state folder {found['home']}\n")


def checks(found: Iterable[Check], *, output: str) -> None:
    """What `doctor` saw."""
    if wants_json(output):
        json_document([check.as_json() for check in found])
        return
    for check in found:
        sys.stdout.write(f"{check}\n")


def table(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")
