"""Give the schema of job files the form that an OpenAPI document takes. Pure."""

from __future__ import annotations

import json
from typing import Any

from dataharbour.packaged import read_packaged

_DEFS = "#/$defs/"


def job_document_schema() -> dict[str, Any]:
    """The schema with its parts in place: a reference would point into the whole document."""
    schema = json.loads(read_packaged("schemas/job.schema.json"))
    parts = schema.pop("$defs", {})
    for keyword in ("$schema", "$id"):
        schema.pop(keyword, None)
    whole: dict[str, Any] = _filled(schema, parts)
    return whole


def _filled(value: Any, parts: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_filled(each, parts) for each in value]
    if not isinstance(value, dict):
        return value
    if str(value.get("$ref", "")).startswith(_DEFS):
        rest = {key: each for key, each in value.items() if key != "$ref"}
        return _filled(parts[value["$ref"].removeprefix(_DEFS)], parts) | rest
    return {key: _filled(each, parts) for key, each in value.items()}
