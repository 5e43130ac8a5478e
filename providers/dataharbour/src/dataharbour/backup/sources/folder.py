"""A folder as a source: each file once, only those read that have changed.

A file is taken for the same when its size, its times of change and its inode are; `ctime` is among
them, which no program sets. A file that changes while it is read is read again, and counted as
unsteady when it never holds still.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from dataharbour.backup.vault.layers import Row, changes
from dataharbour.backup.vault.packs import PACK_BYTES
from dataharbour.backup.vault.reading import PointReader
from dataharbour.backup.vault.session import SourcePart, WritingSession
from dataharbour.errors import BackupCorrupt, ConfigError, Unavailable

_SAME = ("size", "modified_ns", "changed_ns", "inode", "mode", "target")
_READS = 3


@dataclass
class FolderCounts:
    """What a backup of a folder has met; the point says it.

    Attributes:
        entries: files, links and folders that are there.
        changed: those of them that are new or have changed.
        gone: those that were there in the point before.
        bytes: of all files.
        read_bytes: of those that were read.
        unsteady: files that changed whenever they were read; what was read last was taken.
    """

    entries: int = 0
    changed: int = 0
    gone: int = 0
    bytes: int = 0
    read_bytes: int = 0
    unsteady: int = 0


def back_up_folder(session: WritingSession, folder: Path) -> SourcePart:
    """Take what has changed below a folder into a recovery point.

    Sockets, pipes and devices are left out; symbolic links are kept as links.

    Args:
        session: of the source, such as ``folder:notebooks``.
        folder: which one.

    Raises:
        ConfigError: there is no such folder. (An empty one would look as if all were deleted.)
        Unavailable: a file cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {folder}.", f"It is the source {session.source}.")
    counts = FolderCounts()
    rows = _changed_rows(session, folder, counts)
    return session.finish(rows, lambda: {"kind": "folder", **asdict(counts)})


def restore_folder(reader: PointReader, source: str, target: Path) -> int:
    """Write a folder as it was; how many files.

    Times and modes are those of the point, owners those of whoever restores.

    Args:
        reader: the point's.
        source: as it was given to `back_up_folder`.
        target: where; a folder that is empty, or not there.

    Raises:
        ConfigError: the folder has something in it.
        BackupCorrupt: something of the point is missing or damaged; what was written stays.
    """
    if target.exists() and any(target.iterdir()):
        raise ConfigError(f"{target} is not empty.", "Restore into a folder of its own.")
    target.mkdir(parents=True, exist_ok=True)
    places, rows = _write_empty(reader.rows(source), target)
    for pack, wanted in reader.packs_with(places).items():
        for digest, content in reader.contents(pack, wanted):
            for path, offset in places[digest]:
                with path.open("r+b") as file:
                    file.seek(offset)
                    file.write(content)
    for row in reversed(rows):  # what is in a folder before the folder: it may be read-only
        path = target / row["key"]
        if "target" not in row:
            path.chmod(stat.S_IMODE(row["mode"]))
        if "modified_ns" in row:
            os.utime(path, ns=(row["modified_ns"], row["modified_ns"]))
    return sum("size" in row for row in rows)


def entries(folder: Path, above: str = "") -> Iterator[Row]:
    """What lies below a folder, sorted by its key: its path there, with ``/`` after a folder's."""
    with os.scandir(folder) as found:
        named = sorted(
            (each.name + "/" * each.is_dir(follow_symlinks=False), each) for each in found
        )
    for name, each in named:
        try:
            row = _row(above + name, Path(each.path))
        except FileNotFoundError:  # deleted while we walked
            continue
        if row is not None:
            yield row
        if name.endswith("/"):
            yield from entries(Path(each.path), above + name)


def is_same(was: Row, now: Row) -> bool:
    """Whether a file does not have to be read again."""
    return all(was.get(name) == now.get(name) for name in _SAME)


def _changed_rows(session: WritingSession, folder: Path, counts: FolderCounts) -> Iterator[Row]:
    found = _counted(entries(folder), counts)
    for was, now in changes(session.rows_before(), found, is_same=is_same):
        row = None if now is None else _read(session, folder, now, counts)
        if row is not None:
            counts.changed += 1
            yield row
        elif was is not None:
            counts.gone += 1
            yield {"key": was["key"], "gone": True}


def _counted(rows: Iterator[Row], counts: FolderCounts) -> Iterator[Row]:
    for row in rows:
        counts.entries += 1
        counts.bytes += row.get("size", 0)
        yield row


def _row(key: str, path: Path) -> Row | None:
    """An entry without its content; None for what is neither file nor link nor folder."""
    found = path.lstat()
    row: Row = {"key": key, "mode": found.st_mode}
    if stat.S_ISLNK(found.st_mode):
        return {**row, "target": os.readlink(path)}
    if stat.S_ISDIR(found.st_mode):
        return row
    if not stat.S_ISREG(found.st_mode):
        return None
    return {
        **row,
        "size": found.st_size,
        "modified_ns": found.st_mtime_ns,
        "changed_ns": found.st_ctime_ns,
        "inode": found.st_ino,
    }


def _read(session: WritingSession, folder: Path, row: Row, counts: FolderCounts) -> Row | None:
    """The row with its content; None when it is gone meanwhile."""
    if "size" not in row:
        return row
    path = folder / row["key"]
    try:
        for _ in range(_READS):
            with path.open("rb") as file:
                digest, pieces = session.packer.add_stream(file)
            after = _row(row["key"], path)
            counts.read_bytes += row["size"]
            taken = {**row, "sha256": digest, "pieces": pieces}
            if after is None or is_same(row, after):
                return taken
            row = after
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}.", "May this process read it?") from error
    counts.unsteady += 1
    return taken


def _write_empty(
    rows: Iterator[Row], target: Path
) -> tuple[dict[str, list[tuple[Path, int]]], list[Row]]:
    """Folders, links and files without content; and where each content goes, by its SHA-256."""
    places: dict[str, list[tuple[Path, int]]] = {}
    made = []
    for row in rows:
        path = _inside(target, row["key"])
        if "target" in row:
            path.symlink_to(row["target"])
        elif "size" not in row:
            path.mkdir()
        else:
            path.touch(exist_ok=False)
            for number, digest in enumerate(row["pieces"]):
                places.setdefault(digest, []).append((path, number * PACK_BYTES))
        made.append(row)
    return places, made


def _inside(target: Path, key: str) -> Path:
    """The path of a key, which is refused where it would lead out of the folder."""
    parts = PurePosixPath(key).parts
    if key.startswith("/") or ".." in parts or not parts:
        raise BackupCorrupt(f"{key!r} is no path below a folder.", "Nobody backed that up.")
    path = target.joinpath(*parts)
    if path.parent.resolve() != target.resolve().joinpath(*parts[:-1]):
        raise BackupCorrupt(f"{key!r} leads through a link.", "Nobody backed that up.")
    return path
