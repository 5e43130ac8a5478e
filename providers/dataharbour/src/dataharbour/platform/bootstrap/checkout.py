"""Know a checkout and its `.venv`: what is locked, what is installed, whether the two agree.

The agreement is kept as copies of the two files that decide what is installed, and the path for
which it was (programs in `.venv/bin` hold it). `harbour` compares them with cmp; so does this.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

NOTEBOOKS = "requirements-notebooks.txt"


class State(Enum):
    """What `.venv` is."""

    MISSING = "missing"
    FOREIGN = "foreign"  # made by somebody else: never touched
    UNFINISHED = "unfinished"  # begun by us, and interrupted
    OUTDATED = "outdated"  # complete for an older lock
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Checkout:
    """The folder with `harbour`, `requirements.txt` and `providers/`.

    Attributes:
        root: the folder.
        wants_notebooks: whether JupyterLab shall be installed, if it is not yet.
    """

    root: Path
    wants_notebooks: bool = False

    @property
    def requirements(self) -> Path:
        """The lock, with hashes."""
        return self.root / "requirements.txt"

    @property
    def notebooks(self) -> Path:
        """The lock of what JupyterLab takes beside that; one that was installed stays."""
        return self.root / NOTEBOOKS

    @property
    def has_notebooks(self) -> bool:
        """Whether that is installed."""
        return (self.notes / NOTEBOOKS).is_file()

    @property
    def locks(self) -> tuple[Path, ...]:
        """The lists that together say what is installed."""
        is_asked = self.wants_notebooks or self.has_notebooks
        more = (self.notebooks,) if is_asked and self.notebooks.is_file() else ()
        return (self.requirements, *more)

    @property
    def uv_lock(self) -> Path:
        """The lock that requirements.txt is exported from; knows sizes."""
        return self.root / "uv.lock"

    @property
    def provider(self) -> Path:
        """The local package."""
        return self.root / "providers" / "dataharbour"

    @property
    def venv(self) -> Path:
        """The environment; where `.venv` is a link, what that leads to."""
        return Path(os.path.realpath(self.root / ".venv"))

    @property
    def notes(self) -> Path:
        """Our own folder in the environment."""
        return self.venv / "harbour"

    @property
    def python(self) -> Path:
        """The environment's Python."""
        return self.venv / "bin" / "python"

    def state(self) -> State:
        """Compare what is installed with what is locked."""
        if not self.notes.is_dir():
            has_content = self.venv.is_dir() and any(self.venv.iterdir())
            return State.FOREIGN if has_content or self.venv.is_file() else State.MISSING
        copies = [copy for _, copy in self._copies() if copy.name != NOTEBOOKS]
        if not all(copy.is_file() for copy in copies) or not os.access(self.python, os.X_OK):
            return State.UNFINISHED
        if (self.notes / "checkout").read_bytes() != self._path_line():
            return State.UNFINISHED  # moved, or copied from elsewhere
        if all(_is_copy(source, copy) for source, copy in self._copies() if source):
            return State.COMPLETE
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        is_ours = (self.venv / "lib" / version).is_dir()  # another Python makes another environment
        return State.OUTDATED if is_ours else State.UNFINISHED

    def record(self) -> None:
        """Note that the environment is complete for the present lock. The last step."""
        for source, copy in self._copies():
            fresh = copy.with_suffix(".new")
            fresh.write_bytes(source.read_bytes() if source else self._path_line())
            fresh.chmod(0o644)
            fresh.replace(copy)

    def withdraw(self) -> bytes:
        """Take the note back before anything is changed; returns what `restore` needs."""
        copy = self.notes / "requirements.txt"
        content = copy.read_bytes()
        copy.unlink()
        return content

    def restore(self, note: bytes) -> None:
        """Put a withdrawn note back: nothing was changed after all."""
        (self.notes / "requirements.txt").write_bytes(note)

    def clear(self, *, keep: tuple[str, ...] = ()) -> None:
        """Remove the content of `.venv`, but for what is named in our own folder.

        Args:
            keep: names in `.venv/harbour` that stay, e.g. finished downloads.
        """
        if not self.venv.is_dir():
            return
        spared = {self.notes / name for name in keep if (self.notes / name).exists()}
        for path in self.venv.iterdir():
            if path == self.notes and spared:
                for inner in set(self.notes.iterdir()) - spared:
                    _remove(inner)
            else:
                _remove(path)
        if not spared and not (self.root / ".venv").is_symlink():
            self.venv.rmdir()

    def distributions(self) -> dict[str, int]:
        """Installed distributions, and when each was put there (ns)."""
        found = self.venv.glob("lib/python*/site-packages/*.dist-info")
        return {path.name: path.stat().st_mtime_ns for path in found}

    def _copies(self) -> Iterator[tuple[Path | None, Path]]:
        """Each source with its copy, the deciding one last; None is the checkout's path."""
        yield None, self.notes / "checkout"
        yield self.provider / "pyproject.toml", self.notes / "pyproject.toml"
        for lock in self.locks[1:]:
            yield lock, self.notes / lock.name
        yield self.requirements, self.notes / "requirements.txt"

    def _path_line(self) -> bytes:
        return os.fsencode(self.root) + b"\n"


def _is_copy(source: Path, copy: Path) -> bool:
    return copy.is_file() and source.read_bytes() == copy.read_bytes()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
