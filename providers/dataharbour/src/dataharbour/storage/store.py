"""What DataHarbour asks of a place that holds objects: a bucket or a folder.

The protocols only. Every implementation passes `tests/contract/storage`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object; its key is relative to the store, with ``/`` between names."""

    key: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Tagged:
    """The content of an object, and the tag by which its next change says what it changes."""

    data: bytes
    tag: str


class ObjectStore(Protocol):
    """A bucket, or a folder that behaves as one.

    An object appears whole or not at all; a failed call leaves the old one.
    Every method raises `Unavailable` when the place does not answer.
    """

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """All objects whose key starts with `prefix`; no order is promised.

        In a bucket some may be marks of folders (`marks`).
        """
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """The names right below `prefix` (which ends with ``/``) that have objects below them.

        As quick as there are few such names, however many objects they have.
        """
        ...

    def read(self, key: str, *, limit_bytes: int = 16 * 2**20) -> bytes:
        """The content of a small object.

        Raises:
            NotFound: there is no such object.
            ConfigError: it is larger than `limit_bytes`.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing one of the same key."""
        ...

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the store, replacing one of the target's key.

        Raises:
            NotFound: there is no source.
        """
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; a key that is not there is no error."""
        ...


class ConditionalStore(ObjectStore, Protocol):
    """An object store in which of several writers one wins, and that can retain what it holds.

    Where the place itself cannot retain objects (a folder, a bucket without object lock),
    `retained_until` says so: None.
    """

    def create(self, key: str, data: bytes, *, retain_until: datetime | None = None) -> bool:
        """Write an object unless there is one of that key; whether this call wrote it.

        An answer may get lost on its way: False may also mean that it was this call's writing.

        Args:
            key: the object's.
            data: its content.
            retain_until: aware; nobody may delete it before, where the place can see to that.
        """
        ...

    def read_tagged(self, key: str) -> Tagged:
        """The content of a small object, with its tag.

        Raises:
            NotFound: there is no such object.
        """
        ...

    def replace(self, key: str, data: bytes, tag: str) -> None:
        """Change an object that still has this tag.

        Raises:
            Stale: it has changed, or is gone.
        """
        ...

    def find(self, key: str) -> StoredObject:
        """An object's size and time, without its content.

        Raises:
            NotFound: there is no such object.
        """
        ...

    def retain(self, key: str, until: datetime) -> None:
        """Have an object retained until then; never shortens.

        Raises:
            NotFound: there is no such object.
        """
        ...

    def retained_until(self, key: str) -> datetime | None:
        """Until when nobody may delete an object, as the place itself says; None: not at all."""
        ...

    def purge(self, keys: Iterable[str]) -> None:
        """Delete objects with all their versions; a key that is not there is no error.

        Raises:
            Conflict: one is retained still; those before it are gone.
        """
        ...

    def clock(self) -> datetime:
        """What time it is there, aware, to the second."""
        ...
