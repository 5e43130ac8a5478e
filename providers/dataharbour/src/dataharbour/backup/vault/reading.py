"""Read recovery points: what they hold, and their contents, each checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from dataharbour.backup.vault.index import ContentIndex
from dataharbour.backup.vault.keys import ReaderKeys
from dataharbour.backup.vault.layers import Row, merged
from dataharbour.backup.vault.objects import SealedObjects
from dataharbour.backup.vault.packs import contents_of
from dataharbour.backup.vault.points import CommittedPoint
from dataharbour.backup.vault.session import bring_up, layer_rows
from dataharbour.errors import BackupCorrupt
from dataharbour.storage.store import ConditionalStore


class PointReader:
    """A recovery point that is read.

    Args:
        store: the vault's.
        keys: all identities.
        point: which one.
        index: a local copy; it is brought up to what the point needs.
    """

    def __init__(
        self,
        store: ConditionalStore,
        keys: ReaderKeys,
        point: CommittedPoint,
        index: ContentIndex,
    ) -> None:
        self._lists = SealedObjects(store, (keys.index_identity,))
        self._packs = SealedObjects(store, (keys.data_identity,))
        self._point = point
        self._index = index
        bring_up(index, self._lists, point.document["indexes"])

    def rows(self, source: str) -> Iterator[Row]:
        """The manifest of a source, sorted by key."""
        layers = self._point.document["sources"][source]["layers"]
        return merged([layer_rows(self._lists, layer) for layer in layers])

    def packs_with(self, digests: Iterable[str]) -> dict[str, set[str]]:
        """Which packs are to be read for contents: what is wanted of each.

        Raises:
            BackupCorrupt: the index does not know one.
        """
        wanted: dict[str, set[str]] = defaultdict(set)
        for digest in digests:
            found = self._index.find(digest)
            if found is None:
                raise BackupCorrupt(
                    f"Content {digest} of point {self._point.number} is in no pack.",
                    "Its index is incomplete; another point may have it.",
                )
            wanted[found].add(digest)
        return wanted

    def pieces(self, digests: Iterable[str]) -> Iterator[bytes]:
        """Contents in this order, such as the pieces of a large one; one pack is read at a time.

        Raises:
            BackupCorrupt: one is missing or damaged.
        """
        for digest in digests:
            ((pack, _),) = self.packs_with([digest]).items()
            ((_, content),) = self.contents(pack, [digest])
            yield content

    def contents(self, pack: str, digests: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Contents of a pack that are wanted, in the pack's order.

        Raises:
            BackupCorrupt: it is missing or damaged, or lacks one of them.
        """
        missing = set(digests)
        form = self._index.form_of(pack)
        try:
            for digest, content in contents_of(self._packs.read(pack), form, digests):
                if digest in missing:
                    missing.remove(digest)
                    yield digest, content
        except ValueError as error:
            raise BackupCorrupt(f"{pack}: {error}.", "Another copy may be whole.") from error
        if missing:
            raise BackupCorrupt(
                f"{pack} lacks content {min(missing)}.", "Its index says otherwise: a fault."
            )
