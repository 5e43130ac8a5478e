"""What a value of a request may be: what PostgreSQL can keep, and no deeper than it must be."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator

from dataharbour.jobs.storable import place_of_nul

MAX_DEPTH = 64


def storable(value: Any) -> Any:
    """Refuse what JSON allows in a request and PostgreSQL cannot keep."""
    try:
        if depth(value) > MAX_DEPTH:
            raise RecursionError
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise ValueError("holds NaN, Infinity or half a surrogate pair") from error
    except RecursionError as error:
        raise ValueError(f"is nested more than {MAX_DEPTH} deep") from error
    if place_of_nul(value) is not None:
        raise ValueError("holds the character NUL")
    return value


def depth(value: Any) -> int:
    """How deep a JSON value is nested; a plain one is 0. Counts without recursion."""
    deepest, left = 0, [(value, 0)]
    while left:
        each, at = left.pop()
        inner = each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        deepest = max(deepest, at)
        left += [(one, at + 1) for one in inner]
    return deepest


Text = Annotated[str, AfterValidator(storable)]
