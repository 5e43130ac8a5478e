"""Decide how staged files become the content of a table, and what forbids it.

Pure: lists of keys in, a plan or a refusal out. `output` carries it out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from dataharbour.errors import JobFailed
from dataharbour.jobs.model import Output
from dataharbour.jobs.placeholders import STAGING
from dataharbour.storage.marks import is_data, is_folder_mark

RECORD = "_published.json"  # readers of datasets skip names that start with _

_ANOTHER = "Name another table in the job's file."


@dataclass(frozen=True, slots=True)
class Record:
    """What was published last as a table: the file `RECORD` in its folder.

    Attributes:
        publication: grows from one publication to the next; 0 when nothing was published yet.
        attempt: whose outputs.
        files: the table's content, relative to its folder.
        bytes: of all of them.
        rows: of all of them; None when nobody counted.
        published_at: ISO 8601, UTC.
    """

    publication: int = 0
    attempt: str | None = None
    files: tuple[str, ...] = ()
    bytes: int = 0
    rows: int | None = None
    published_at: str | None = None


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """What makes staged files the content of one table.

    Attributes:
        table: the table's folder.
        copies: pairs of staged key and key in the table.
        bytes: of the staged files.
    """

    table: str
    copies: tuple[tuple[str, str], ...]
    bytes: int

    @property
    def files(self) -> tuple[str, ...]:
        """The new content, relative to the table's folder."""
        return tuple(target.removeprefix(f"{self.table}/") for _, target in self.copies)


def record_of(folder: str) -> str:
    """Key of the record of a table."""
    return f"{folder}/{RECORD}"


def outdated(table: str, record: Record, current: Iterable[str]) -> list[str]:
    """Those of the keys in a table's folder that are not of the content its record names."""
    kept = {record_of(table), *(f"{table}/{name}" for name in record.files)}
    return sorted(key for key in current if key not in kept and not is_folder_mark(key))


def copied_by(tag: str, table: str, record: Record, current: Iterable[str]) -> list[str]:
    """Those of the keys that are `outdated` whose names carry a tag."""
    whole = (f"-{tag}-", f"-{tag}.")
    old = outdated(table, record, current)
    return [key for key in old if any(part in key.rpartition("/")[2] for part in whole)]


def publisher_tag(attempt_id: object) -> str:
    """What the names of all files have in common that an attempt publishes."""
    return str(attempt_id)[-12:]


def staging_of(attempt_id: object, table: str) -> str:
    """Prefix of the keys that an attempt staged for a table."""
    return f"{STAGING}/{attempt_id}/{table}/"


def plan_publish(
    output: Output, *, attempt_id: object, token: str, staged: Mapping[str, int]
) -> PublishPlan:
    """The plan for one table.

    Files are numbered in each partition's folder, by their staged names, and carry
    `token`: ``part-00000-<token>.snappy.parquet``. So no publication ever writes
    to a file of another one.

    Args:
        output: the table.
        attempt_id: the attempt that staged the files.
        token: unique to this call.
        staged: keys below `staging_of`, with their sizes in bytes.

    Raises:
        JobFailed: nothing was staged, or in other folders than declared.
    """
    prefix, table = staging_of(attempt_id, output.table), output.table
    folders: dict[PurePosixPath, list[str]] = defaultdict(list)
    for name in sorted(key.removeprefix(prefix) for key in staged):
        if is_data(name):
            path = PurePosixPath(name)
            _check_partition(output, path)
            folders[path.parent].append(path.name)
    copies = tuple(
        (f"{prefix}{folder / name}", f"{table}/{folder / _named(number, token, name)}")
        for folder, names in sorted(folders.items())
        for number, name in enumerate(names)
    )
    if not copies:
        raise JobFailed(
            f"The application wrote nothing for its declared output {table!r}.",
            f"It must write Parquet below {{output}}/{table}, or the job must not declare it.",
        )
    return PublishPlan(table, copies, bytes=sum(staged[source] for source, _ in copies))


def refuse_overlap(outputs: Sequence[Output]) -> None:
    """Each table of a run has its folder for itself.

    Raises:
        JobFailed: one is named twice, or lies inside another.
    """
    tables = [output.table for output in outputs]
    for number, output in enumerate(outputs):
        around = {output.table, *output.folders_above}
        if {*tables[:number], *tables[number + 1 :]} & around:
            raise JobFailed(
                f"The output {output.table!r} is another output of the run, or lies inside one.",
                "Name tables that do not overlap.",
            )


def refuse_foreign(
    output: Output,
    *,
    record: Record | None,
    publication: int,
    current: Iterable[str],
    above: Iterable[str],
) -> None:
    """Publishing replaces all that is in the table's folder: that must be this table alone.

    Args:
        output: the table.
        record: its record, if there is one.
        publication: of the attempt that shall be published.
        current: keys below its folder.
        above: folders around it that are tables.

    Raises:
        JobFailed: the folder holds other data, or lies inside another table; or a
            newer attempt has published the table.
    """
    table = output.table
    for folder in above:
        raise JobFailed(f"{table!r} lies inside the table {folder!r}.", _ANOTHER)
    data = sorted(key for key in current if not is_folder_mark(key))
    for key in data:
        folder, _, name = key.rpartition("/")
        if name == RECORD and folder != table:
            raise JobFailed(f"The table {folder!r} lies inside {table!r}.", _ANOTHER)
    if record is None and data:
        raise JobFailed(
            f"The folder {table!r} of the lake holds {len(data)} files that no job has published, "
            f"such as {data[0]!r}; publishing would delete them.",
            f"Move them away, or name another table; a file {record_of(table)} that holds {{}} "
            "gives the folder and what is in it to the job.",
        )
    if record is not None and record.publication > publication:
        raise JobFailed(
            f"The table {table!r} holds what attempt {record.attempt} has published, which began "
            "later than this one.",
            "Nothing is lost but this older result; start the job again to replace the newer one.",
        )


def _named(number: int, token: str, name: str) -> str:
    """``part-00003-….c000.snappy.parquet`` as ``part-00000-<token>.snappy.parquet``."""
    *_, codec, kind = ("", "", *name.split("."))[-3:]
    known = codec in {"snappy", "zstd", "gz", "lz4"}
    ending = f"{codec}.{kind}" if known else kind
    return f"part-{number:05}-{token}.{ending}"


def _check_partition(output: Output, path: PurePosixPath) -> None:
    columns = tuple(part.partition("=")[0] for part in path.parts[:-1])
    if columns != output.partitioned_by:
        declared = "/".join(f"{column}=…" for column in output.partitioned_by) or "no folders"
        raise JobFailed(
            f"The application staged {str(path)!r} for {output.table!r}, which is declared "
            f"with {declared}.",
            "Make partitioned_by in the job's file and partitionBy in the application agree.",
        )
