"""Find what no request may hold: the character NUL.

Pure. PostgreSQL keeps no text with it, and no program can be given it as an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dataharbour.errors import ConfigError
from dataharbour.jobs.model import RunRequest


def place_of_nul(value: Any, place: str = "") -> str | None:
    """Where the first text with NUL stands, as in ``args[1]``; None where there is none."""
    if isinstance(value, str):
        return place if "\0" in value else None
    if isinstance(value, Mapping):
        inside = [(key, f"a name in {place}" if place else "a name") for key in value]
        inside += [(v, f"{place}.{k}" if place else str(k)) for k, v in value.items()]
    elif isinstance(value, (list, tuple)):
        inside = [(v, f"{place}[{number}]") for number, v in enumerate(value)]
    else:
        return None
    places = (place_of_nul(v, where) for v, where in inside)
    return next((found for found in places if found is not None), None)


def refuse_nul(request: RunRequest) -> None:
    """Refuse a request that could not be kept.

    Raises:
        ConfigError: a text of it holds NUL.
    """
    values = {f.name: getattr(request, f.name) for f in fields(request)}
    place = place_of_nul(values)
    if place is not None:
        raise ConfigError(
            f"The run's {place} holds the character NUL.",
            "Take it out: no argument of a program can hold it, and no text in PostgreSQL.",
        )
