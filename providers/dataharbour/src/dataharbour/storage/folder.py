"""A local folder as an object store, which retains nothing by itself.

Writes go to a hidden name first and are renamed, so that a reader sees an object
whole or not at all, and a crash of the machine leaves the old or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from uuid import uuid4

from dataharbour.errors import ConfigError, NotFound, Stale, Unavailable
from dataharbour.storage.store import StoredObject, Tagged

_UNFINISHED = ".unfinished-"
_LOCK = f"{_UNFINISHED}lock"  # who changes an object by its tag holds it


class FolderStore:
    """The files below `root`, by their paths relative to it.

    Unlike in a bucket, a key cannot also be the folder of another one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `ObjectStore.objects`."""
        start = self._root / prefix.rpartition("/")[0]
        for folder, _, names in os.walk(start):
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self._root).as_posix()
                if key.startswith(prefix) and not name.startswith(_UNFINISHED):
                    with contextlib.suppress(FileNotFoundError):  # deleted while we walked
                        stat = path.stat()
                        modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                        yield StoredObject(key, stat.st_size, modified)

    def folders(self, prefix: str) -> Iterator[str]:
        """See `ObjectStore.folders`."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._path(prefix)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.name

    def read(self, key: str, *, limit_bytes: int = 16 * 2**20) -> bytes:
        """See `ObjectStore.read`."""
        path = self._path(key)
        with _translated(path), path.open("rb") as file:
            data = file.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise ConfigError(
                f"{path} is larger than {limit_bytes} bytes.", "It is not a file to be read whole."
            )
        return data

    def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        self._write(key, lambda file: file.write(data))

    def create(self, key: str, data: bytes, *, retain_until: datetime | None = None) -> bool:  # noqa: ARG002
        """See `ConditionalStore.create`."""
        try:
            self._write(key, lambda file: file.write(data), place=_link)
        except _Taken:
            return False
        return True

    def read_tagged(self, key: str) -> Tagged:
        """See `ConditionalStore.read_tagged`."""
        data = self.read(key)
        return Tagged(data, hashlib.sha256(data).hexdigest())

    def replace(self, key: str, data: bytes, tag: str) -> None:
        """See `ConditionalStore.replace`."""
        with self._locked():
            try:
                current = self.read_tagged(key).tag
            except NotFound:
                current = None
            if current != tag:
                raise Stale(f"{self._path(key)} has changed meanwhile.", "Read it again.")
            self.put(key, data)

    def find(self, key: str) -> StoredObject:
        """See `ConditionalStore.find`."""
        path = self._path(key)
        with _translated(path):
            stat = path.stat()
        return StoredObject(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def retain(self, key: str, until: datetime) -> None:  # noqa: ARG002
        """See `ConditionalStore.retain`; a folder cannot."""
        self.find(key)

    def retained_until(self, key: str) -> datetime | None:
        """See `ConditionalStore.retained_until`; a folder retains nothing."""
        self.find(key)
        return None

    def purge(self, keys: Iterable[str]) -> None:
        """See `ConditionalStore.purge`; there are no other versions."""
        self.delete(keys)

    def clock(self) -> datetime:
        """See `ConditionalStore.clock`: the time of a new file, where the disk may be another's."""
        probe = self._root / f"{_UNFINISHED}{uuid4().hex}"
        with _translated(probe):
            os.close(_create(probe))
            try:
                return datetime.fromtimestamp(int(probe.stat().st_mtime), UTC)
            finally:
                probe.unlink(missing_ok=True)

    def copy(self, source: str, target: str) -> None:
        """See `ObjectStore.copy`."""
        path = self._path(source)
        with _translated(path), path.open("rb") as original:
            self._write(target, lambda file: shutil.copyfileobj(original, file, 2**20))

    def delete(self, keys: Iterable[str]) -> None:
        """See `ObjectStore.delete`; folders that become empty go, as a bucket has none."""
        for key in keys:
            path = self._path(key)
            with _translated(path):
                path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._root or not folder.is_relative_to(self._root):
                    break
                try:
                    folder.rmdir()
                except OSError:  # not empty, or already gone
                    break

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time, until it is done or dead."""
        path = self._root / _LOCK
        with _translated(path):
            self._root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with _translated(path):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(
        self,
        key: str,
        fill: Callable[[BinaryIO], object],
        *,
        place: Callable[[Path, Path], object] = Path.replace,
    ) -> None:
        path = self._path(key)
        unfinished = path.with_name(f"{_UNFINISHED}{uuid4().hex}")
        with _translated(path):
            descriptor = _create(unfinished)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    self._refuse_links(path)
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                self._hand_over(unfinished)
                place(unfinished, path)
                _sync_folder(path.parent)
            finally:
                unfinished.unlink(missing_ok=True)

    def _refuse_links(self, path: Path) -> None:
        """What looks like a folder of ours may lead to where we may write, and others may not."""
        if not path.parent.resolve().is_relative_to(self._root.resolve()):
            raise ConfigError(
                f"{path.parent} leads out of {self._root} by a symbolic link.", "Remove the link."
            )

    def _hand_over(self, path: Path) -> None:
        """Have what root writes belong to the owner of the store, as all the rest there does."""
        if os.geteuid() != 0:
            return
        owner = self._root.stat()
        for each in (path, *path.parents):
            if each == self._root:
                return
            if each.lstat().st_uid != owner.st_uid:
                os.chown(each, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts:
            raise ConfigError(f"{key!r} is no key of {self._root}.", "Give a relative path.")
        return self._root.joinpath(*parts)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """The operating system's errors as ours."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {path}.", "Was it deleted, or moved?") from error
    except OSError as error:
        raise Unavailable(
            f"{path}: {error.strerror}.", "Look at the disk's space and at the folder's rights."
        ) from error


class _Taken(Exception):
    """Another file has the name."""


def _link(unfinished: Path, path: Path) -> None:
    """Give a file its name, unless another one has it."""
    try:
        path.hardlink_to(unfinished)
    except FileExistsError as error:
        raise _Taken from error


def _create(path: Path) -> int:
    """A new file, with its folder, which `delete` may take away between the two calls."""
    for attempt in range(5):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileNotFoundError:
            if attempt == 4:
                raise
    raise AssertionError("the last attempt returned or raised")


def _sync_folder(folder: Path) -> None:
    """The name of a new file is as durable as its folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
