"""Look whether recovery points are still what was written: cheaply every day, to the byte by turns.

Every fault is named by its point and its object.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dataharbour.backup.vault import names
from dataharbour.backup.vault.index import packs_of
from dataharbour.backup.vault.keys import ReaderKeys
from dataharbour.backup.vault.objects import SealedObjects
from dataharbour.backup.vault.packs import Pack, contents_of
from dataharbour.backup.vault.points import CommittedPoint
from dataharbour.backup.vault.session import layer_rows
from dataharbour.errors import BackupCorrupt
from dataharbour.storage.store import ConditionalStore


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an object that a point needs.

    Attributes:
        point: its number.
        object: the key of the object.
        problem: a sentence.
    """

    point: int
    object: str
    problem: str


def sizes_of(store: ConditionalStore) -> dict[str, int]:
    """The size of every pack and list that is there, in bytes, by its key."""
    return {
        found.key: found.size_bytes
        for kind in ("packs/", "lists/")
        for found in store.objects(kind)
    }


def check_point(
    store: ConditionalStore, keys: ReaderKeys, point: CommittedPoint, sizes: Mapping[str, int]
) -> Iterator[Fault]:
    """The faults that show without reading packs: what is missing, cut or not in the index.

    Args:
        store: the vault's.
        keys: its identities; of these only that of lists is used.
        point: which one.
        sizes: from `sizes_of`, one listing for all points.
    """
    lists = SealedObjects(store, (keys.index_identity,))
    known: set[str] = set()
    for named in point.document["indexes"]:
        yield from _sized(point, named["name"], named["size"], sizes)
        try:
            packs = list(packs_of(lists.read(named["name"])))
        except BackupCorrupt as error:
            yield Fault(point.number, named["name"], error.problem)
            continue
        for pack in packs:
            known.update(pack.contents)
            yield from _sized(point, pack.part.name, pack.part.size_bytes, sizes)
    for source, about in point.document["sources"].items():
        if manifest := about.get("base", {}).get("manifest"):
            yield from _kept(point, lists, manifest, sizes)
        for layer in about["layers"]:
            for part in layer["parts"]:
                yield from _sized(point, part["name"], part["size"], sizes)
                yield from _named_contents(point, lists, source, part, known)


def read_packs(
    store: ConditionalStore,
    keys: ReaderKeys,
    point: CommittedPoint,
    *,
    part: int = 0,
    of: int = 1,
) -> Iterator[Fault]:
    """The faults that only show when every byte is read: of all packs, or of the n-th part of them.

    Args:
        store: the vault's.
        keys: all identities.
        point: which one.
        part: which part, from 0.
        of: how many parts all packs have; the same pack is always in the same one.
    """
    lists = SealedObjects(store, (keys.index_identity,))
    packs = SealedObjects(store, (keys.data_identity,))
    needed: list[Pack] = []
    for named in point.document["indexes"]:
        try:
            needed += packs_of(lists.read(named["name"]))
        except BackupCorrupt as error:
            yield Fault(point.number, named["name"], error.problem)
    for pack in needed:
        name = pack.part.name
        if int((names.digest_of(name) or "0")[:8], 16) % of != part:
            continue
        try:
            found = {d for d, _ in contents_of(packs.read(name), pack.form, pack.contents)}
        except (BackupCorrupt, ValueError) as error:
            problem = error.problem if isinstance(error, BackupCorrupt) else f"{error}."
            yield Fault(point.number, name, problem)
            continue
        if lacking := set(pack.contents) - found:
            yield Fault(point.number, name, f"It lacks content {min(lacking)}.")


def _sized(
    point: CommittedPoint, name: str, size_bytes: int, sizes: Mapping[str, int]
) -> Iterator[Fault]:
    found = sizes.get(name)
    if found is None:
        yield Fault(point.number, name, f"{name} is missing.")
    elif found != size_bytes:
        yield Fault(point.number, name, f"{name} has {found:,} bytes; {size_bytes:,} were written.")


def _kept(
    point: CommittedPoint,
    lists: SealedObjects,
    told: Mapping[str, Any],
    sizes: Mapping[str, int],
) -> Iterator[Fault]:
    yield from _sized(point, told["name"], told["size"], sizes)
    try:
        lists.read(told["name"])
    except BackupCorrupt as error:
        yield Fault(point.number, told["name"], error.problem)


def _named_contents(
    point: CommittedPoint,
    lists: SealedObjects,
    source: str,
    part: Mapping[str, str],
    known: Collection[str],
) -> Iterator[Fault]:
    """Contents that a manifest names, and no pack has."""
    try:
        for row in layer_rows(lists, {"parts": [part]}):
            for digest in row.get("pieces", ()):
                if digest not in known:
                    problem = f"{row['key']!r} of {source} has content {digest}, which no pack has."
                    yield Fault(point.number, part["name"], problem)
    except BackupCorrupt as error:
        yield Fault(point.number, part["name"], error.problem)
