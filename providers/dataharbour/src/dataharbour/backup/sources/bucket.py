"""A bucket as a source: each content once, only those read that are new.

A point has of each object the version that was current at its mark. Whoever writes an object and
then commits the row that names it may do both around the mark, so versions that were replaced
shortly before it are kept as well: a restored row finds exactly the version that it names.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

from dataharbour.backup.vault.layers import Row, changes
from dataharbour.backup.vault.session import SourcePart, WritingSession
from dataharbour.errors import NotFound
from dataharbour.storage.versions import BucketVersions, ObjectVersion, OpenVersion

REPLACED_WITHIN = timedelta(minutes=15)  # longer than a writer takes from its upload to its commit
_AT_ONCE = 16  # small objects that are read while others are packed
_SMALL_BYTES = 4 * 2**20  # so that those at once stay below 64 MiB


@dataclass
class BucketCounts:
    """What a backup of a bucket has met.

    Attributes:
        objects: that are there at the mark.
        versions: that are kept, those replaced shortly before the mark included.
        changed: versions that are new or have another standing.
        gone: those that the point before had.
        bytes: of the objects at the mark.
        read_bytes: of what was read.
        vanished: versions that somebody deleted for good before they were read.
    """

    objects: int = 0
    versions: int = 0
    changed: int = 0
    gone: int = 0
    bytes: int = 0
    read_bytes: int = 0
    vanished: int = 0


def back_up_bucket(
    session: WritingSession, bucket: BucketVersions, *, mark: datetime
) -> SourcePart:
    """Take what has changed in a bucket into a recovery point.

    Args:
        session: of the source, such as ``bucket:lake``.
        bucket: which one.
        mark: by the store's clock, after that of the database was set; aware. What was written
            later is not part of the point.

    Raises:
        Unavailable: the store does not answer, or refuses.
    """
    counts = BucketCounts()
    rows = _changed_rows(session, bucket, mark, counts)
    about = {"kind": "bucket", "mark": mark.isoformat()}
    return session.finish(rows, lambda: {**about, **asdict(counts)})


def kept_versions(
    newest_first: Sequence[ObjectVersion], *, mark: datetime
) -> list[tuple[ObjectVersion, bool]]:
    """The versions of one object that a point keeps, each with whether it is current at the mark.

    Pure. A version that was replaced at most `REPLACED_WITHIN` before the mark is kept, too.
    """
    kept: list[tuple[ObjectVersion, bool]] = []
    replaced_at: datetime | None = None
    for version in newest_first:
        if version.modified_at > mark:
            continue
        if replaced_at is not None and replaced_at < mark - REPLACED_WITHIN:
            break
        if not version.is_deletion:
            kept.append((version, replaced_at is None))
        replaced_at = version.modified_at
    return kept


def _changed_rows(
    session: WritingSession,
    bucket: BucketVersions,
    mark: datetime,
    counts: BucketCounts,
) -> Iterator[Row]:
    found = _counted(_rows(bucket.versions(), mark), counts)
    pairs = changes(session.rows_before(), found, is_same=_is_same)
    for was, now, reading in _read_ahead(bucket, pairs):
        row: Row | None = None
        if now is not None and was is not None and _has_same_content(was, now):
            row = {**was, "current": now["current"]}
        elif now is not None:
            row = _taken(session, bucket, now, reading)
            counts.vanished += row is None
            counts.read_bytes += row["size"] if row else 0
        if row is not None:
            counts.changed += 1
            yield row
        elif was is not None:
            counts.gone += 1
            yield {"key": was["key"], "gone": True}


def _read_ahead(
    bucket: BucketVersions, pairs: Iterable[tuple[Row | None, Row | None]]
) -> Iterator[tuple[Row | None, Row | None, Future[_Small] | None]]:
    """The pairs in their order, small objects being read by threads before it is their turn."""
    waiting: deque[tuple[Row | None, Row | None, Future[_Small] | None]] = deque()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="bucket") as threads:
        for was, now in pairs:
            reading = None
            if now and not (was and _has_same_content(was, now)) and now["size"] <= _SMALL_BYTES:
                reading = threads.submit(_read_small, bucket, now)
            waiting.append((was, now, reading))
            if len(waiting) > _AT_ONCE:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()


_Small = tuple[bytes, Row]  # a content, and what else its version has


def _read_small(bucket: BucketVersions, row: Row) -> _Small:
    with bucket.opened(_version(row)) as version:
        return version.stream.read(), _details(version)


def _taken(
    session: WritingSession, bucket: BucketVersions, row: Row, reading: Future[_Small] | None
) -> Row | None:
    """The row with its content, which the packer has; None when that is gone meanwhile."""
    try:
        if reading is not None:
            data, details = reading.result()
            digest, pieces = session.packer.add_stream(io.BytesIO(data))
        else:
            with bucket.opened(_version(row)) as version:
                digest, pieces = session.packer.add_stream(version.stream)
                details = _details(version)
    except NotFound:
        return None
    return {**row, **details, "sha256": digest, "pieces": pieces}


def _version(row: Row) -> ObjectVersion:
    modified_at = datetime.fromisoformat(row["modified"])
    return ObjectVersion(row["object"], row["version"], row["size"], modified_at, row["etag"])


def _details(version: OpenVersion) -> Row:
    """What else comes back with a content, where there is any of it."""
    told: dict[str, Any] = {
        "type": version.content_type,
        "metadata": dict(version.metadata),
        "tags": dict(version.tags),
    }
    return {name: value for name, value in told.items() if value}


def _rows(versions: Iterable[ObjectVersion], mark: datetime) -> Iterator[Row]:
    """What a point has of a bucket, sorted by key; without contents."""
    for key, of_one in groupby(versions, key=attrgetter("key")):
        kept = kept_versions(list(of_one), mark=mark)
        for version, is_current in sorted(kept, key=lambda one: one[0].version):
            yield {
                "key": f"{key}\0{version.version}",
                "object": key,
                "version": version.version,
                "size": version.size_bytes,
                "modified": version.modified_at.isoformat(),
                "etag": version.etag,
                "current": is_current,
            }


def _counted(rows: Iterator[Row], counts: BucketCounts) -> Iterator[Row]:
    for row in rows:
        counts.versions += 1
        if row["current"]:
            counts.objects += 1
            counts.bytes += row["size"]
        yield row


def _has_same_content(was: Row, now: Row) -> bool:
    return all(was[name] == now[name] for name in ("version", "size", "etag", "modified"))


def _is_same(was: Row, now: Row) -> bool:
    return was["current"] == now["current"] and _has_same_content(was, now)
