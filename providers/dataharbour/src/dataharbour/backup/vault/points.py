"""Recovery points in the vault: signed documents in a chain, each written once.

A point is `points/<number>.json`. Its presence is the commit. It names the SHA-256 of the one
before it, so that nobody can take one away, or put another in its place, unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dataharbour.backup.vault import names
from dataharbour.backup.vault.signed import checked, sign
from dataharbour.errors import BackupCorrupt, NotFound
from dataharbour.storage.store import ConditionalStore

FORMAT = "dataharbour-point"
VERSION = 1


@dataclass(frozen=True, slots=True)
class CommittedPoint:
    """A point as it is in the vault.

    Attributes:
        number: its place in the chain, from 1.
        sha256: of the stored bytes.
        document: what it says, without the signature.
    """

    number: int
    sha256: str
    document: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The point's UUID."""
        return str(self.document["id"])


def numbers(store: ConditionalStore) -> list[int]:
    """The points that are there, the oldest first."""
    found = (names.point_number(each.key) for each in store.objects(names.POINTS))
    return sorted(number for number in found if number is not None)


def read_point(store: ConditionalStore, number: int, *, signing: str) -> CommittedPoint:
    """A point whose signature is right.

    Args:
        store: the vault's.
        number: its place in the chain.
        signing: the vault's public key, base64.

    Raises:
        NotFound: there is none.
        BackupCorrupt: it was changed, or says another number than its name.
    """
    name = names.point_name(number)
    data = store.read(name)
    document = checked(data, signing, where=name)
    told = (document.get("format"), document.get("version"), document.get("number"))
    if told != (FORMAT, VERSION, number):
        raise BackupCorrupt(
            f"{name} says that it is {told[0]} {told[1]}, number {told[2]}.",
            "It was put there in the place of another; older versions of it may still be there.",
        )
    return CommittedPoint(number, hashlib.sha256(data).hexdigest(), document)


def newest_point(store: ConditionalStore, *, signing: str) -> CommittedPoint | None:
    """The head of the chain.

    Raises:
        BackupCorrupt: it was changed.
    """
    found = numbers(store)
    return read_point(store, found[-1], signing=signing) if found else None


def commit_point(
    store: ConditionalStore, document: Mapping[str, Any], *, signing_key: str, signing: str
) -> CommittedPoint:
    """Write a point at the end of the chain.

    Args:
        store: the vault's.
        document: what the point says, with its `id`.
        signing_key: private, base64.
        signing: the public one to it.

    Returns:
        It, also if an earlier call with this id had written it.
    """
    while True:
        before = newest_point(store, signing=signing)
        if before is not None and before.id == document["id"]:
            return before
        number = 1 if before is None else before.number + 1
        whole = {
            **document,
            "format": FORMAT,
            "version": VERSION,
            "number": number,
            "previous": None if before is None else before.sha256,
        }
        data = sign(whole, signing_key)
        if store.create(names.point_name(number), data):
            return CommittedPoint(number, hashlib.sha256(data).hexdigest(), whole)


def chain_faults(store: ConditionalStore, *, signing: str) -> Iterator[str]:
    """What is wrong with the chain, point by point; a gap is what was removed."""
    previous: CommittedPoint | None = None
    for number in numbers(store):
        try:
            point = read_point(store, number, signing=signing)
        except (BackupCorrupt, NotFound) as error:
            yield error.problem
            previous = None
            continue
        is_next = previous is not None and previous.number + 1 == number
        if is_next and previous and point.document["previous"] != previous.sha256:
            yield f"{names.point_name(number)} follows another {names.point_name(number - 1)}."
        previous = point
