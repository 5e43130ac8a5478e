"""Read the document of a request's body: JSON or YAML, as one tree of plain values.

YAML is read without aliases (a few lines of them unfold to gigabytes) and without tags.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from dataharbour.api.problems import InvalidRequest, UnsupportedMedia
from dataharbour.api.schemas.values import MAX_DEPTH, storable

JSON = "application/json"
YAML = "application/yaml"
_YAML_TYPES = {YAML, "application/x-yaml", "text/yaml", "text/x-yaml"}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_document(body: bytes, content_type: str) -> Any:
    """The value that a body holds.

    Args:
        body: as it came.
        content_type: the header; empty counts as JSON.

    Raises:
        UnsupportedMedia: neither JSON nor YAML.
        InvalidRequest: not well-formed, or of values that cannot be kept.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _YAML_TYPES:
        value = _yaml(body)
    elif kind in {"", JSON}:
        value = _json(body)
    else:
        raise UnsupportedMedia(
            f"A body of the type {kind[:60]!r} is not read here.", f"Send {JSON} or {YAML}."
        )
    try:
        # Through JSON: YAML has keys that are no text.
        return storable(json.loads(json.dumps(value)))
    except (TypeError, ValueError) as error:  # a date of YAML; NaN
        raise _unreadable(f"it {error}" if isinstance(error, ValueError) else _NO_JSON) from error


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise _unreadable(f"line {error.lineno}: not valid JSON ({error.msg})") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _unreadable("not valid JSON") from error


def _yaml(body: bytes) -> Any:
    try:
        _check_events(body)
        return yaml.load(body, Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise _unreadable(f"{where}not valid YAML") from error  # its words may repeat a value


def _check_events(body: bytes) -> None:
    depth = 0
    for event in yaml.parse(body, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise _unreadable(f"line {event.start_mark.line + 1}: aliases (*name) are not read")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _unreadable(f"it is nested more than {MAX_DEPTH} deep")


_NO_JSON = "it holds a value that JSON does not have, such as a date: put it into quotes"


def _unreadable(why: str) -> InvalidRequest:
    return InvalidRequest(f"The document cannot be read: {why}.", "Correct it and send it again.")
