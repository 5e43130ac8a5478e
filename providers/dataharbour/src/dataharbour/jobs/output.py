"""Publish what an attempt staged: make it the content of its tables.

Three phases, each for all tables. Copy the staged files into the tables' folders, under names
that no other file ever had (a new folder is claimed first). Write the records
``_published.json``, which name them. Delete all other files (`remove_outdated`), once the
database knows that it is published. Stopped anywhere, the same calls later start again from the
staging, which goes last, by itself.

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime

from dataharbour.errors import DataHarbourError, NotFound, Unavailable
from dataharbour.jobs.model import Output
from dataharbour.jobs.placeholders import STAGING
from dataharbour.jobs.publication import (
    PublishPlan,
    Record,
    copied_by,
    outdated,
    plan_publish,
    publisher_tag,
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
    """Publish the declared outputs of an attempt; its staging, and the old files, stay.

    The caller sees that nobody else publishes these tables (`RightToPublish.take_tables`).
    A failure before the first record leaves nothing behind.

    Args:
        store: the lake.
        outputs: the tables; their records are written in this order.
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
    token = f"{publisher_tag(attempt_id)}-{secrets.token_hex(3)}"  # a second call has other names
    records: dict[str, Record] = {}
    try:
        plans = [_plan(store, o, attempt_id, token=token, publication=publication) for o in outputs]
        for plan in plans:
            _copy(store, plan, check=check)
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
        for table, record in records.items():
            check()
            _write(store, table, record)
    except Exception as error:
        is_written_perhaps = isinstance(error, Unavailable) and records
        if not is_written_perhaps:
            with suppress(DataHarbourError):  # the first error says more than a second one
                withdraw(store, [output.table for output in outputs], token)  # of this call alone
        raise
    return records


def remove_outdated(
    store: ObjectStore, tables: Iterable[str], *, attempt_id: object, check: Callable[[], None]
) -> None:
    """Delete what is not of the content that an attempt has published.

    The caller sees that nobody else publishes these tables, as for `publish`. A table that
    another attempt has published since is left alone.

    Raises:
        Conflict: `check` refused.
    """
    for table in tables:
        record = read_record(store, table)
        if record is not None and record.attempt == str(attempt_id):
            old = outdated(table, record, _keys(store, table))
            check()  # after the list: what a later publisher copies is not in it
            store.delete(old)


def withdraw(store: ObjectStore, tables: Iterable[str], tag: str) -> None:
    """Remove the copies whose names carry a tag, unless they are the content.

    The tag of an attempt (`publisher_tag`) is that of all its publishers: only who holds the right
    to publish may name it.
    """
    for table in tables:
        record = read_record(store, table) or Record()
        store.delete(copied_by(tag, table, record, _keys(store, table)))


def shown(store: ObjectStore, tables: Iterable[str], attempt_id: object) -> list[str]:
    """Those of the tables whose content is what an attempt has published."""
    records = ((table, read_record(store, table)) for table in tables)
    return [table for table, record in records if record and record.attempt == str(attempt_id)]


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


def _copy(store: ObjectStore, plan: PublishPlan, *, check: Callable[[], None]) -> None:
    if read_record(store, plan.table) is None:  # the files that follow are known as ours
        check()
        _write(store, plan.table, Record())
    for source, target in plan.copies:
        check()
        store.copy(source, target)


def _keys(store: ObjectStore, table: str) -> list[str]:
    return [found.key for found in store.objects(f"{table}/")]


def _write(store: ObjectStore, table: str, record: Record) -> None:
    store.put(record_of(table), json.dumps(asdict(record), indent=1).encode())
