"""Files that an attempt leaves for people: in its folder, beside what its application works with.

The child writes them, the supervisor takes out the secrets, the API reads them; so the standard
library only. An application may write there what it likes: links are never followed, and what is
not a plain file, or too large, is not there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dataharbour.jobs.driver.lines import Cleaner

FOLDER = "artifacts"
MAX_BYTES = 32 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file; `modified_at` is Unix time."""

    name: str
    size_bytes: int
    modified_at: float


def listed(attempt: Path) -> list[Artifact]:
    """What the attempt in that folder has left, by name."""
    found = []
    with _folder(attempt) as folder:
        for name in sorted(os.listdir(folder)) if folder >= 0 else ():
            with _plain_file(folder, name) as file:
                if file >= 0:
                    status = os.fstat(file)
                    found.append(Artifact(name, status.st_size, status.st_mtime))
    return found


def read(attempt: Path, name: str) -> bytes | None:
    """The content of one, or None."""
    with _folder(attempt) as folder:
        if folder < 0:
            return None
        with _plain_file(folder, name) as file:
            return None if file < 0 else _content(file)


def write(attempt: Path, name: str, data: bytes) -> None:
    """Replace one, never half-written.

    Raises:
        OSError: it cannot be written.
    """
    (attempt / FOLDER).mkdir(mode=0o700, exist_ok=True)
    with _folder(attempt) as folder:
        if folder < 0:
            raise NotADirectoryError(FOLDER)
        draft = f".{name}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(draft, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(data)
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)


def clean(attempt: Path, secrets: Iterable[str]) -> None:
    """Take `secrets` out of all of them; every other byte stays.

    In what is no text each is replaced by as many stars, so that nothing in it moves.
    """
    # Longest first, so that one secret inside another leaves no part of it.
    hidden = sorted({each.encode() for each in _spellings(secrets) if each}, key=len, reverse=True)
    for artifact in listed(attempt):
        data = cleaned = read(attempt, artifact.name) or b""
        for secret in hidden:
            if secret in cleaned:
                cleaned = cleaned.replace(secret, b"***" if _is_text(data) else b"*" * len(secret))
        if cleaned != data:
            write(attempt, artifact.name, cleaned)


def in_json(secrets: Iterable[str]) -> Cleaner:
    """Takes secrets out of a JSON text, as it writes them."""
    return Cleaner(_spellings(secrets))


def _spellings(secrets: Iterable[str]) -> list[str]:
    """Secrets as they are, and as JSON writes them."""
    plain = list(secrets)
    escaped = [
        json.dumps(each, ensure_ascii=ascii)[1:-1] for each in plain for ascii in (True, False)
    ]
    return [*plain, *escaped]


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


@contextlib.contextmanager
def _folder(attempt: Path) -> Iterator[int]:
    """The open folder, or -1."""
    with _opened(str(attempt / FOLDER), os.O_RDONLY | os.O_DIRECTORY) as folder:
        yield folder


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
def _opened(path: str, flags: int, *, folder: int | None = None) -> Iterator[int]:
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
