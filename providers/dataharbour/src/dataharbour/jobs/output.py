"""Publish what an attempt staged: make it the content of its tables.

Each table goes through five steps: say in the record ``_published.json`` that it
is being published, copy the staged files to their places (over those of the same
name), delete the old files that are left, write the record of the new content,
remove the staging. Stopped anywhere, the same call later goes on and ends in the
same state, as the staging goes last.

What a reader may see meanwhile: each single file is whole at any time, old or
new; the table as a set of files may be a mixture while the record's `state` is
``publishing``. A reader that needs a consistent table reads the record, then the
files it lists, then the record again: ``published`` and unchanged, and what it
read was one content.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dataharbour.errors import NotFound
from dataharbour.jobs.model import Output
from dataharbour.jobs.placeholders import STAGING
from dataharbour.jobs.publication import RECORD, PublishPlan, plan_publish, staging_of
from dataharbour.storage.store import ObjectStore


@dataclass(frozen=True, slots=True)
class Published:
    """What a table holds now; `rows` is None when nobody counted them."""

    table: str
    files: int
    bytes: int
    rows: int | None


def publish(
    store: ObjectStore,
    outputs: Sequence[Output],
    *,
    attempt_id: object,
    check: Callable[[], None],
    rows: Mapping[str, int] | None = None,
    now: datetime,
) -> list[Published]:
    """Publish the declared outputs of an attempt, then remove its staging.

    Args:
        store: the lake.
        outputs: the tables, published in this order.
        attempt_id: whose staged files.
        check: raises when the attempt may not publish any more; called before
            every step that changes a table (`RunStore.publishing` yields it).
        rows: rows of each table, where they were counted.
        now: aware UTC; stands in the records.

    Raises:
        JobFailed: a declared table has no staged files; then nothing is changed.
        Conflict: `check` refused.
    """
    done = {o.table: record for o in outputs if (record := _own(store, o.table, attempt_id))}
    plans = [_plan(store, o, attempt_id) for o in outputs if o.table not in done]
    for plan in plans:  # all were made before the first is carried out
        counted = (rows or {}).get(plan.table)
        done[plan.table] = _carry_out(
            store, plan, attempt_id=attempt_id, check=check, rows=counted, now=now
        )
    check()
    discard_staging(store, attempt_id)
    return [_published(output.table, done[output.table]) for output in outputs]


def discard_staging(store: ObjectStore, attempt_id: object) -> None:
    """Remove all that an attempt staged."""
    staged = [found.key for found in store.objects(f"{STAGING}/{attempt_id}/")]
    store.delete(staged)


def read_record(store: ObjectStore, table: str) -> dict[str, Any] | None:
    """What was published last as `table`, or None."""
    try:
        record = json.loads(store.read(f"{table}/{RECORD}"))
    except (NotFound, ValueError):
        return None
    return record if isinstance(record, dict) else None


def is_published(store: ObjectStore, outputs: Sequence[Output], attempt_id: object) -> bool:
    """Whether all tables hold what this attempt staged; its staging may be gone then."""
    return all(_own(store, output.table, attempt_id) is not None for output in outputs)


def _own(store: ObjectStore, table: str, attempt_id: object) -> dict[str, Any] | None:
    """The table's record, if this attempt wrote it before it was interrupted."""
    record = read_record(store, table)
    if record is None or record.get("state") != "published":
        return None
    return record if record.get("attempt") == str(attempt_id) else None


def _plan(store: ObjectStore, output: Output, attempt_id: object) -> PublishPlan:
    staged = [found.key for found in store.objects(staging_of(attempt_id, output.table))]
    current = [found.key for found in store.objects(f"{output.table}/")]
    return plan_publish(output, attempt_id=attempt_id, staged=staged, current=current)


def _carry_out(
    store: ObjectStore,
    plan: PublishPlan,
    *,
    attempt_id: object,
    check: Callable[[], None],
    rows: int | None,
    now: datetime,
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "state": "publishing",
        "attempt": str(attempt_id),
        "published_at": now.isoformat(),
        "rows": rows,
        "bytes": 0,
        "files": plan.files,
    }
    check()
    _write(store, plan, record)
    for source, target in plan.copies:
        check()
        store.copy(source, target)
    check()
    store.delete(plan.deletes)
    sizes = {found.key: found.size_bytes for found in store.objects(f"{plan.table}/")}
    record["bytes"] = sum(sizes.get(target, 0) for _, target in plan.copies)
    record["state"] = "published"
    check()
    _write(store, plan, record)
    return record


def _write(store: ObjectStore, plan: PublishPlan, record: Mapping[str, Any]) -> None:
    store.put(plan.record, json.dumps(record, indent=1).encode())


def _published(table: str, record: Mapping[str, Any]) -> Published:
    return Published(table, len(record["files"]), record["bytes"], record["rows"])
