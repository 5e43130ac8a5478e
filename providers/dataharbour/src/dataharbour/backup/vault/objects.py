"""Write and read the sealed objects of a vault: packs and lists, named by what is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dataharbour.backup.vault import names
from dataharbour.backup.vault.sealing import unseal
from dataharbour.errors import BackupCorrupt, NotFound
from dataharbour.storage.store import ConditionalStore

LARGEST_STORED_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class StoredPart:
    """An object as it was written.

    Attributes:
        name: its key.
        size_bytes: of the stored bytes.
    """

    name: str
    size_bytes: int

    @property
    def told(self) -> dict[str, Any]:
        """As points and intents name it."""
        return {"name": self.name, "size": self.size_bytes}


@dataclass(frozen=True, slots=True)
class SealedObjects:
    """The packs and lists of one vault.

    Attributes:
        store: where they are.
        identities: what this process may open; without any it only writes.
    """

    store: ConditionalStore
    identities: Sequence[str] = field(default=(), repr=False)

    def write_pack(self, sealed: bytes) -> StoredPart:
        """Store sealed bytes as a pack."""
        return self._write(names.pack_name(_digest(sealed)), sealed)

    def write_list(self, sealed: bytes) -> StoredPart:
        """Store sealed bytes as a list."""
        return self._write(names.list_name(_digest(sealed)), sealed)

    def read(self, name: str) -> bytes:
        """What was sealed in a pack or a list.

        Raises:
            BackupCorrupt: it is missing, is not what its name says, or cannot be opened.
        """
        return unseal(self.read_sealed(name), self.identities)

    def read_sealed(self, name: str) -> bytes:
        """The stored bytes, which are what the name says; no key is needed.

        Raises:
            BackupCorrupt: it is missing, or is not what its name says.
        """
        try:
            sealed = self.store.read(name, limit_bytes=LARGEST_STORED_BYTES)
        except NotFound as error:
            raise BackupCorrupt(
                f"{name} is missing.", "A version of it may still be there; else: another copy."
            ) from error
        if _digest(sealed) != names.digest_of(name):
            raise BackupCorrupt(
                f"{name} has other bytes than its name says ({len(sealed):,} of them).",
                "An older version of it may still be there; else: another copy of the vault.",
            )
        return sealed

    def _write(self, name: str, sealed: bytes) -> StoredPart:
        # Nothing else has this name, so one that is there is the same.
        self.store.create(name, sealed)
        return StoredPart(name, len(sealed))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
