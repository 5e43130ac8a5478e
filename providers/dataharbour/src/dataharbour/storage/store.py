"""What DataHarbour asks of a place that holds objects: a bucket or a folder.

The protocol only. Every implementation passes
`tests/contract/test_object_store.py`.
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
