"""Decide how staged files become the content of a table.

Pure: lists of keys in, a plan out. `output` carries it out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from dataharbour.errors import JobFailed
from dataharbour.jobs.model import Output
from dataharbour.jobs.placeholders import STAGING

RECORD = "_published.json"  # readers of datasets skip names that start with _


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """The steps that publish one table, in order.

    Attributes:
        table: the table's folder.
        copies: pairs of staged key and key in the table.
        deletes: keys of the table that are not part of the new content.
        record: key of the file that says what is published, written last.
    """

    table: str
    copies: tuple[tuple[str, str], ...]
    deletes: tuple[str, ...]
    record: str

    @property
    def files(self) -> list[str]:
        """The new content, relative to the table's folder."""
        return [target.removeprefix(f"{self.table}/") for _, target in self.copies]


def staging_of(attempt_id: object, table: str) -> str:
    """Prefix of the keys that an attempt staged for a table."""
    return f"{STAGING}/{attempt_id}/{table}/"


def plan_publish(
    output: Output, *, attempt_id: object, staged: Iterable[str], current: Iterable[str]
) -> PublishPlan:
    """The plan for one table.

    New names depend on the sorted staged names alone, so that a second plan
    after an interruption has the same targets: ``part-00000.snappy.parquet``,
    counted in each partition's folder.

    Args:
        output: the table.
        attempt_id: the attempt that staged the files.
        staged: keys below `staging_of`.
        current: keys below the table's folder.

    Raises:
        JobFailed: nothing was staged, or in other folders than declared.
    """
    prefix, table = staging_of(attempt_id, output.table), output.table
    folders: dict[PurePosixPath, list[str]] = defaultdict(list)
    for key in sorted(staged):
        path = PurePosixPath(key.removeprefix(prefix))
        if _is_data(path):
            _check_partition(output, path)
            folders[path.parent].append(path.name)
    copies = tuple(
        (f"{prefix}{folder / name}", f"{table}/{folder / _numbered(number, name)}")
        for folder, names in sorted(folders.items())
        for number, name in enumerate(names)
    )
    if not copies:
        raise JobFailed(
            f"The application wrote nothing for its declared output {table!r}.",
            f"It must write Parquet below {{output}}/{table}, or the job must not declare it.",
        )
    targets, record = {target for _, target in copies}, f"{table}/{RECORD}"
    return PublishPlan(
        table=table,
        copies=copies,
        deletes=tuple(sorted(set(current) - targets - {record})),
        record=record,
    )


def _is_data(path: PurePosixPath) -> bool:
    """Spark's marks (_SUCCESS, _temporary, .part-….crc) are no data."""
    return not any(part.startswith(("_", ".")) and "=" not in part for part in path.parts)


def _numbered(number: int, name: str) -> str:
    """``part-00003-….c000.snappy.parquet`` as ``part-00000.snappy.parquet``."""
    *_, codec, kind = ("", "", *name.split("."))[-3:]
    known = codec in {"snappy", "zstd", "gz", "lz4"}
    return f"part-{number:05}.{codec}.{kind}" if known else f"part-{number:05}.{kind}"


def _check_partition(output: Output, path: PurePosixPath) -> None:
    columns = tuple(part.partition("=")[0] for part in path.parts[:-1])
    if columns != output.partitioned_by:
        declared = "/".join(f"{column}=…" for column in output.partitioned_by) or "no folders"
        raise JobFailed(
            f"The application staged {str(path)!r} for {output.table!r}, which is declared "
            f"with {declared}.",
            "Make partitioned_by in the job's file and partitionBy in the application agree.",
        )
