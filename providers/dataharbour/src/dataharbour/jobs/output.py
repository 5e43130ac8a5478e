"""Publish what an attempt staged: make it the content of its tables.

Each table goes through four steps: claim its folder, if that is new; copy the
staged files into it, under names that no other file ever had; write the record
``_published.json``, which names them; delete all other files. Stopped anywhere,
the same call later starts again from the staging, which goes last, by itself.

The record is the switch. A reader that reads the record, and then the files it
names, has one whole publication; when one of them is gone, the next one took
place, and the reader begins again. A reader that lists the folder sees old and
new files beside each other from the first copy to the last delete.

A publisher that was stopped after its last check for longer than its database
connection lives may still do one step when it wakes. A copy or a delete harms
nobody then: names are never used twice. A record, a moment's work, would name
what it published itself, which the newer publication may have deleted.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime

from dataharbour.errors import DataHarbourError, NotFound
from dataharbour.jobs.model import Output
from dataharbour.jobs.placeholders import STAGING
from dataharbour.jobs.publication import (
    PublishPlan,
    Record,
    plan_publish,
    record_of,
    refuse_foreign,
    refuse_overlap,
    staging_of,
)
from dataharbour.storage.store import ObjectStore


def publish(
    store: ObjectStore,
    outputs: Sequence[Output],
    *,
    attempt_id: object,
    publication: int,
    check: Callable[[], None],
    rows: Mapping[str, int] | None = None,
    now: datetime,
) -> dict[str, Record]:
    """Publish the declared outputs of an attempt; its staging stays.

    The caller sees that nobody else publishes these tables (`RightToPublish.take_tables`).

    Args:
        store: the lake.
        outputs: the tables, published in this order.
        attempt_id: whose staged files.
        publication: its number; a table that has a higher one is refused.
        check: raises when the attempt may not publish any more; called before
            every step that changes a table (`RunStore.publishing` yields it).
        rows: rows of each table, where they were counted.
        now: aware UTC; stands in the records.

    Returns:
        The record of each table.

    Raises:
        JobFailed: a table has no staged files, or may not be published; then
            nothing is changed.
        Conflict: `check` refused.
    """
    refuse_overlap(outputs)
    token = f"{str(attempt_id)[-12:]}-{secrets.token_hex(3)}"  # a second call has other names
    plans = [_plan(store, o, attempt_id, token=token, publication=publication) for o in outputs]
    records = {
        plan.table: Record(
            publication=publication,
            attempt=str(attempt_id),
            files=plan.files,
            bytes=plan.bytes,
            rows=(rows or {}).get(plan.table),
            published_at=now.isoformat(),
        )
        for plan in plans
    }
    for plan in plans:  # all were made before the first is carried out
        try:
            _carry_out(store, plan, records[plan.table], check=check)
        except Exception:
            with suppress(DataHarbourError):  # the first error says more than a second one
                _withdraw(store, plan)
            raise
    return records


def discard_staging(store: ObjectStore, attempt_id: object) -> None:
    """Remove all that an attempt staged; the mark of a folder goes after what is in it."""
    staged = [found.key for found in store.objects(f"{STAGING}/{attempt_id}/")]
    store.delete(sorted(staged, reverse=True))


def read_record(store: ObjectStore, table: str) -> Record | None:
    """What was published last as `table`, or None; a record that is damaged says nothing."""
    try:
        values = json.loads(store.read(record_of(table)))
        exact = {"files": tuple(values["files"]), "publication": int(values["publication"])}
        return Record(**values | exact)
    except NotFound:
        return None
    except (ValueError, TypeError, KeyError):
        return Record()


def _plan(
    store: ObjectStore, output: Output, attempt_id: object, *, token: str, publication: int
) -> PublishPlan:
    staged = store.objects(staging_of(attempt_id, output.table))
    sizes = {found.key: found.size_bytes for found in staged}
    plan = plan_publish(output, attempt_id=attempt_id, token=token, staged=sizes)
    refuse_foreign(
        output,
        record=read_record(store, output.table),
        publication=publication,
        current=_keys(store, output.table),
        above=[folder for folder in output.folders_above if read_record(store, folder)],
    )
    return plan


def _carry_out(
    store: ObjectStore, plan: PublishPlan, record: Record, *, check: Callable[[], None]
) -> None:
    if read_record(store, plan.table) is None:  # the files that follow are known as ours
        check()
        _write(store, plan.table, Record())
    for source, target in plan.copies:
        check()
        store.copy(source, target)
    check()
    _write(store, plan.table, record)
    outdated = plan.outdated(_keys(store, plan.table))
    check()  # after the list: what a later publisher copies is not in it
    store.delete(outdated)


def _withdraw(store: ObjectStore, plan: PublishPlan) -> None:
    """Remove the copies of a publication that failed, unless the table holds them by now."""
    record = read_record(store, plan.table)
    if record is None or record.files != plan.files:
        store.delete(plan.targets)


def _keys(store: ObjectStore, table: str) -> list[str]:
    return [found.key for found in store.objects(f"{table}/")]


def _write(store: ObjectStore, table: str, record: Record) -> None:
    store.put(record_of(table), json.dumps(asdict(record), indent=1).encode())
