"""Decide the ids that make a repeated request the same request. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def dag_run_id(*, principal: str, subject: str, key: str) -> str:
    """The id of the Airflow run that a request starts; the same for the same key.

    Args:
        principal: name of the caller; keys of different callers never meet.
        subject: name of the job, or ``spark_job`` for a one-off run.
        key: the Idempotency-Key.
    """
    digest = hashlib.sha256(_canonical([principal, subject, key])).hexdigest()
    return f"api__{digest[:32]}"


def fingerprint(body: Any) -> str:
    """A hash that is equal for requests that ask for the same thing.

    Args:
        body: JSON value; the order of its keys does not matter.
    """
    return hashlib.sha256(_canonical(body)).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
