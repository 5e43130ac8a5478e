"""Files that an attempt leaves for people, in one flat folder.

The application leaves them in the attempt's own folder; cleaned copies of them are collected
(`collection`) in another, and only those are shown. The standard library only. An application may
write there what it likes: links are never followed, and what is not a plain file, or too large,
is not there.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = "artifacts"  # in an attempt's folder: where its application leaves them
NOTEBOOK = "notebook.ipynb"  # the executed notebook; the driver replaces it as a whole
MAX_BYTES = 32 * 1024 * 1024
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file; `modified_at` is Unix time. A file that was replaced has another `inode`."""

    name: str
    size_bytes: int
    modified_at: float
    inode: int = 0


def listed(place: Path) -> list[Artifact]:
    """What is in the folder, by name."""
    with _opened(place, _FOLDER_FLAGS) as folder:
        names = sorted(os.listdir(folder)) if folder >= 0 else []
        return [found for name in names if (found := _look(folder, name)) is not None]


def look(place: Path, name: str) -> Artifact | None:
    """One of them, as it is now."""
    with _opened(place, _FOLDER_FLAGS) as folder:
        return None if folder < 0 else _look(folder, name)


def read(place: Path, name: str) -> bytes | None:
    """The content of one, or None."""
    with _opened(place, _FOLDER_FLAGS) as folder:
        if folder < 0:
            return None
        with _plain_file(folder, name) as file:
            return None if file < 0 else _content(file)


def others(place: Path) -> list[str]:
    """Names of what else is in the folder, and is not shown."""
    with _opened(place, _FOLDER_FLAGS) as folder:
        names = sorted(os.listdir(folder)) if folder >= 0 else []
        return [name for name in names if name[0] != "." and _look(folder, name) is None]


def write(place: Path, name: str, data: bytes) -> None:
    """Replace one, never half-written.

    Raises:
        OSError: it cannot be written.
    """
    place.mkdir(mode=0o700, exist_ok=True)
    with _opened(place, _FOLDER_FLAGS) as folder:
        if folder < 0:
            raise NotADirectoryError(place)
        draft = f".{name}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(draft, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(data)
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)


def remove(place: Path, name: str) -> None:
    """Remove one; none of that name is fine.

    Raises:
        OSError: it cannot be removed.
    """
    with _opened(place, _FOLDER_FLAGS) as folder, contextlib.suppress(FileNotFoundError):
        if folder >= 0:
            os.unlink(name, dir_fd=folder)


def _look(folder: int, name: str) -> Artifact | None:
    with _plain_file(folder, name) as file:
        if file < 0:
            return None
        status = os.fstat(file)
        return Artifact(name, status.st_size, status.st_mtime, status.st_ino)


@contextlib.contextmanager
def _plain_file(folder: int, name: str) -> Iterator[int]:
    """The open file, or -1 if that is no name or no plain file of a fair size."""
    if not _NAME.fullmatch(name):
        yield -1
        return
    with _opened(name, os.O_RDONLY | os.O_NONBLOCK, folder=folder) as file:
        status = os.fstat(file) if file >= 0 else None
        fits = status and stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES
        yield file if fits else -1


@contextlib.contextmanager
def _opened(path: str | Path, flags: int, *, folder: int | None = None) -> Iterator[int]:
    try:
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        yield -1
        return
    try:
        yield file
    finally:
        os.close(file)


def _content(file: int) -> bytes:
    parts = []
    left = MAX_BYTES  # it may grow while we read
    while left > 0 and (part := os.read(file, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
