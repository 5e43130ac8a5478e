"""Write recovery points: each source by a session of its own, and at last the point.

Sessions of one point may run one after the other or beside each other, in one process or in
several. Until the point itself is there, nothing that reads the vault sees any of it. A session
that was killed leaves packs and the lists that name them; the next one finds them by its intent
and stores nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Self

from dataharbour.backup.vault.index import ContentIndex, index_lines
from dataharbour.backup.vault.intents import close_intents, left_behind, write_intent
from dataharbour.backup.vault.keys import WriterKeys
from dataharbour.backup.vault.layers import Row, layers_to_merge, merged
from dataharbour.backup.vault.lease import HeldLease, release_of
from dataharbour.backup.vault.objects import SealedObjects, StoredPart
from dataharbour.backup.vault.packs import Pack, Packer
from dataharbour.backup.vault.points import CommittedPoint, commit_point, newest_point, read_point
from dataharbour.backup.vault.sealing import seal
from dataharbour.backup.vault.signed import public_key
from dataharbour.storage.store import ConditionalStore

INDEX_EVERY_BYTES = 256 * 2**20  # of stored packs: what a session that is killed may store again
PART_ROWS = 100_000  # of a manifest in one list


@dataclass(frozen=True, slots=True)
class NewPoint:
    """A recovery point that is begun; all values are JSON, to be handed from task to task.

    Attributes:
        id: a UUID.
        parent: the number of the point whose layers it builds upon, or None.
        epoch: of the lease.
    """

    id: str
    parent: int | None
    epoch: int


@dataclass(frozen=True, slots=True)
class SourcePart:
    """What a session has stored of a source; JSON, too.

    Attributes:
        source: its name, such as ``bucket:lake``.
        about: what the point says of it, with its layers.
        indexes: the lists of the index that it counts on beside those of the point before.
        stored_bytes: of packs and lists.
    """

    source: str
    about: dict[str, Any]
    indexes: list[dict[str, Any]]
    stored_bytes: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From JSON."""
        return cls(**values)

    @property
    def told(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class VaultWriter:
    """A vault, to whoever writes to it.

    Attributes:
        store: where it is.
        keys: the writer's.
        cache: a folder for the local copy of the index.
        log: is told what is done, a line at a time.
    """

    store: ConditionalStore
    keys: WriterKeys
    cache: Path
    log: Callable[[str], None] = field(default=lambda _: None, compare=False)

    def begin(self, point_id: str) -> NewPoint:
        """Begin a recovery point: nobody else writes or removes until it is committed.

        Raises:
            VaultBusy: somebody else is at it.
        """
        with HeldLease(self.store, holder=point_id, keep=True) as lease:
            parent = newest_point(self.store, signing=self.signing)
            return NewPoint(point_id, parent.number if parent else None, lease.epoch)

    def abandon(self, point: NewPoint) -> None:
        """Let others come: this point will not be. What its sessions have stored is not lost."""
        release_of(self.store, point.id)

    @contextmanager
    def session(self, point: NewPoint, source: str) -> Iterator[WritingSession]:
        """Write a source of a point.

        Raises:
            VaultBusy: the lease was lost meanwhile.
        """
        with HeldLease(self.store, holder=point.id, keep=True) as lease:
            objects = SealedObjects(self.store, (self.keys.index_identity,))
            parent = self._parent(point)
            left = _unique(left_behind(self.store))
            self.cache.mkdir(parents=True, exist_ok=True)
            with ContentIndex(self.cache / f"{self.keys.vault_id}.db") as index:
                known = [*(parent.document["indexes"] if parent else []), *left]
                bring_up(index, objects, _unique(known), self.log)
                session = WritingSession(point, source, self, objects, index, lease, parent, left)
                session.tell()
                with session.packer:
                    yield session

    def commit(
        self, point: NewPoint, parts: Iterable[SourcePart], about: Mapping[str, Any]
    ) -> CommittedPoint:
        """Make what the sessions have stored a recovery point.

        Args:
            point: from `begin`.
            parts: of its sessions.
            about: what the point says of itself, JSON without fractions.

        Raises:
            VaultBusy: the lease was lost meanwhile.
        """
        parts = list(parts)
        with HeldLease(self.store, holder=point.id, keep=False) as lease:
            parent = self._parent(point)
            old = parent.document["indexes"] if parent else []
            document = {
                **about,
                "id": point.id,
                "vault": self.keys.vault_id,
                "epoch": lease.epoch,
                "indexes": _unique([*old, *(each for part in parts for each in part.indexes)]),
                "sources": {part.source: part.about for part in parts},
                "stored_bytes": sum(part.stored_bytes for part in parts),
            }
            lease.confirm()
            committed = commit_point(
                self.store, document, signing_key=self.keys.signing_key, signing=self.signing
            )
            close_intents(self.store)
            return committed

    @property
    def signing(self) -> str:
        """The public key of what is signed."""
        return public_key(self.keys.signing_key)

    def _parent(self, point: NewPoint) -> CommittedPoint | None:
        if point.parent is None:
            return None
        return read_point(self.store, point.parent, signing=self.signing)


@dataclass
class WritingSession:
    """A source of a recovery point that is being written; `VaultWriter.session` opens it.

    Attributes:
        point: which point.
        source: the name of the source.
        indexes: the lists that it counts on beside those of the point before: of sessions that did
            not come to their point, and its own.
        packer: takes contents.
    """

    point: NewPoint
    source: str
    writer: VaultWriter
    objects: SealedObjects
    index: ContentIndex
    lease: HeldLease
    parent: CommittedPoint | None
    indexes: list[dict[str, Any]]
    packer: Packer = field(init=False)
    _stored_bytes: int = 0
    _pending: list[Pack] = field(default_factory=list)
    _pending_contents: set[str] = field(default_factory=set)
    _pending_bytes: int = 0

    def __post_init__(self) -> None:
        keys = self.writer.keys
        self.packer = Packer(
            is_known=lambda digest: digest in self._pending_contents or self.index.has(digest),
            write=lambda data: self.objects.write_pack(seal(data, [keys.data_recipient])),
            written=self._packed,
        )

    def tell(self) -> None:
        """Have others see what this session counts on."""
        write_intent(
            self.writer.store,
            f"{self.point.id}-{self.source}",
            parent=self.point.parent,
            epoch=self.lease.epoch,
            indexes=self.indexes,
        )

    def rows_before(self) -> Iterator[Row]:
        """The manifest of the source in the point before: its rows, sorted by key."""
        return merged([layer_rows(self.objects, layer) for layer in self._layers_before()])

    def finish(self, rows: Iterable[Row], about: Callable[[], Mapping[str, Any]]) -> SourcePart:
        """Write what has changed of the source since the point before; the session's last call.

        All contents that the rows name have been given to the packer.

        Args:
            rows: sorted by key; what is gone says so.
            about: what else the point says of the source, JSON without fractions; asked for when
                all rows were taken.
        """
        layers = self._layers_with(rows)
        self.packer.flush()
        self._write_index()
        return SourcePart(
            self.source, {**about(), "layers": layers}, self.indexes, self._stored_bytes
        )

    def keep(self, data: bytes) -> dict[str, Any]:
        """Store what the next session has to read again, such as a manifest; how a point names it.

        It is sealed as lists are: a writer opens those, and no packs.
        """
        return self._write_list(data).told

    def kept(self, told: Mapping[str, Any]) -> bytes:
        """What an earlier session has kept.

        Raises:
            BackupCorrupt: it is missing or damaged.
        """
        return self.objects.read(str(told["name"]))

    def about_before(self) -> dict[str, Any] | None:
        """What the point before says of the source, if it has it."""
        sources = {} if self.parent is None else self.parent.document["sources"]
        about: dict[str, Any] | None = sources.get(self.source)
        return about

    def _layers_with(self, rows: Iterable[Row]) -> list[dict[str, Any]]:
        below = self._layers_before()
        new = self._written(rows)
        if not new["rows"]:
            return below
        taken = layers_to_merge([layer["rows"] for layer in below], new=new["rows"])
        if taken:
            together = [layer_rows(self.objects, layer) for layer in [new, *below[:taken]]]
            new = self._written(merged(together, keep_gone=taken < len(below)))
        return [new, *below[taken:]]

    def _packed(self, pack: Pack) -> None:
        self._stored_bytes += pack.part.size_bytes
        self._pending.append(pack)
        self._pending_contents.update(pack.contents)
        self._pending_bytes += pack.part.size_bytes
        if self._pending_bytes >= INDEX_EVERY_BYTES:
            self._write_index()
            self.lease.confirm()

    def _write_index(self) -> None:
        """The local copy learns of packs last: what it has, a list of the vault has, too."""
        if self._pending:
            lines = index_lines(self._pending)
            part = self._write_list(lines)
            self.indexes.append(part.told)
            self.tell()
            self.index.load(part.name, lines)
            self._pending, self._pending_contents, self._pending_bytes = [], set(), 0

    def _layers_before(self) -> list[dict[str, Any]]:
        layers: list[dict[str, Any]] = (self.about_before() or {}).get("layers", [])
        return layers

    def _written(self, rows: Iterable[Row]) -> dict[str, Any]:
        """A layer in as many lists as it takes."""
        remaining, parts, total = iter(rows), [], 0
        while some := list(islice(remaining, PART_ROWS)):
            lines = (json.dumps(row).encode() + b"\n" for row in some)
            parts.append(self._write_list(b"".join(lines)).told)
            total += len(some)
        return {"rows": total, "parts": parts}

    def _write_list(self, data: bytes) -> StoredPart:
        part = self.objects.write_list(seal(data, [self.writer.keys.index_recipient]))
        self._stored_bytes += part.size_bytes
        return part


def layer_rows(objects: SealedObjects, layer: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of a layer, a list at a time."""
    for part in layer["parts"]:
        for line in objects.read(part["name"]).splitlines():
            yield json.loads(line)


def bring_up(
    index: ContentIndex,
    objects: SealedObjects,
    lists: Sequence[Mapping[str, Any]],
    log: Callable[[str], None] = lambda _: None,
) -> None:
    """Have the local copy hold these lists, and no others."""
    wanted = [str(each["name"]) for each in lists]
    if index.lists() - set(wanted):
        index.clear()
    known = index.lists()
    missing = [name for name in wanted if name not in known]
    for number, name in enumerate(missing, start=1):
        log(f"index: list {number} of {len(missing)}")
        index.load(name, objects.read(name))


def _unique(lists: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({each["name"]: each for each in lists}.values())
