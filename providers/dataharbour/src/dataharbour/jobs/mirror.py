"""Keep the files that mirror stored jobs: $HARBOUR_HOME/jobs/<name>.yaml, where DAG parsing reads.

Writes whole files only, by renaming; touches no file that a person made, unless a
stored job has its name. Who calls sees to it that only one does at a time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import yaml

MARK = "# Stored over REST: what is changed here is undone. To change it: harbour job apply FILE"
_TEMPORARY = ".tmp"  # not .yaml: nobody takes it for a job


def mirror_text(document: Mapping[str, Any], *, version: int) -> str:
    """The file of a stored job."""
    body = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=100)
    return f"{MARK}\n# Version {version}\n{body}"


def is_mirror(path: Path) -> bool:
    """Whether a file was written here, and not by a person."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline().rstrip("\n") == MARK
    except OSError:
        return False


def write_mirror(folder: Path, name: str, text: str) -> bool:
    """Make the file of a job say `text`; whether it did not before.

    Raises:
        OSError: it could not be written; the file is as it was.
    """
    path = folder / f"{name}.yaml"
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            return False
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = mkstemp(dir=folder, prefix=f".{name}.", suffix=_TEMPORARY)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), folder.stat().st_mode & 0o666)  # for whom the folder is
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync(folder)
    return True


def remove_mirror(folder: Path, name: str, *, is_ours: bool) -> bool:
    """Take away the file of a job that is stored no more; whether there was one.

    Args:
        folder: of the mirror.
        name: of the job.
        is_ours: the file belongs to the job that is being deleted, whoever wrote into it;
            otherwise one that a person has made since stays.

    Raises:
        OSError: it could not be removed.
    """
    path = folder / f"{name}.yaml"
    if not path.exists() or not (is_ours or is_mirror(path)):
        return False
    path.unlink(missing_ok=True)
    _sync(folder)
    return True


def clear_temporary(folder: Path) -> None:
    """Remove what a killed writer left."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
