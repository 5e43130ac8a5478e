"""A vault in a folder, with a folder that is backed up into it, for tests."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataharbour.backup.sources.folder import FolderCounts, back_up_folder, restore_folder
from dataharbour.backup.vault.age import new_identity
from dataharbour.backup.vault.checking import Fault, check_point, read_packs, sizes_of
from dataharbour.backup.vault.index import ContentIndex
from dataharbour.backup.vault.keys import create_vault, open_as_reader
from dataharbour.backup.vault.points import CommittedPoint, chain_faults, read_point
from dataharbour.backup.vault.reading import PointReader
from dataharbour.backup.vault.session import VaultWriter
from dataharbour.storage.folder import FolderStore

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
OPERATOR, OPERATOR_TO = new_identity()
SOURCE = "folder:notebooks"


class VaultPlace:
    """A vault, a folder to be backed up, and where it is restored."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = FolderStore(root / "vault")
        self.keys = create_vault(
            self.store, vault_id="v", people={"operator": OPERATOR_TO}, now=NOW
        )
        self.folder = root / "notebooks"
        self.folder.mkdir()
        self._restored = 0

    def write(self, **files: bytes | str) -> None:
        """Make files of the folder; ``__`` in a name stands for ``/``."""
        for name, content in files.items():
            path = self.folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def writer(self, *, store: Any = None) -> VaultWriter:
        """Whoever writes to the vault, through another store if there is one."""
        return VaultWriter(store or self.store, self.keys, self.root / "cache")

    def back_up(self, point_id: str, *, store: Any = None) -> FolderCounts:
        """Commit a point of the folder."""
        writer = self.writer(store=store)
        point = writer.begin(point_id)
        try:
            with writer.session(point, SOURCE) as session:
                part = back_up_folder(session, self.folder)
            writer.commit(point, [part], {"began_at": NOW.isoformat()})
        except Exception:
            writer.abandon(point)
            raise
        return FolderCounts(**{name: part.about[name] for name in FolderCounts.__annotations__})

    def restore(self, number: int) -> Path:
        """Bring back a point into a new folder."""
        self._restored += 1
        target = self.root / f"restored-{self._restored}"
        keys = open_as_reader(self.store, OPERATOR)
        with ContentIndex(self.root / f"{target.name}.db") as index:
            reader = PointReader(self.store, keys, self.point(number), index)
            restore_folder(reader, SOURCE, target)
        return target

    def point(self, number: int) -> CommittedPoint:
        """A point that is in the vault."""
        keys = open_as_reader(self.store, OPERATOR)
        return read_point(self.store, number, signing=keys.signing_public)

    def chain_faults(self) -> list[str]:
        """What is wrong with the chain of points."""
        keys = open_as_reader(self.store, OPERATOR)
        return list(chain_faults(self.store, signing=keys.signing_public))

    def faults(self, number: int, *, deep: bool = False) -> list[Fault]:
        """What is wrong with a point; `deep`: to the last byte."""
        keys, point = open_as_reader(self.store, OPERATOR), self.point(number)
        found = list(check_point(self.store, keys, point, sizes_of(self.store)))
        return found + list(read_packs(self.store, keys, point) if deep else ())


def seen(folder: Path) -> dict[str, Any]:
    """All that a restore has to bring back."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        what: Any = status.st_mode
        if path.is_symlink():
            what = os.readlink(path)
        elif path.is_file():
            what = (status.st_mode, status.st_mtime_ns, path.read_bytes())
        found[path.relative_to(folder).as_posix()] = what
    return found


def random_bytes(size: int, seed: int = 0) -> bytes:
    """The same for the same seed; nothing compresses them."""
    return random.Random(seed).randbytes(size)


def fill(place: VaultPlace) -> None:
    """Files of every kind, and of names that are easily got wrong."""
    files: dict[str, bytes | str] = {
        "a.ipynb": "{}", "b__c__d.py": "print(1)\n" * 50, "empty": b"", "same": "{}",
        "large": random_bytes(21_000), "b__two pieces": random_bytes(5_000, 1),
        "b c": random_bytes(900, 2), "é": "accents",
    }  # fmt: skip
    place.write(**files)
    (place.folder / "empty folder").mkdir()
    (place.folder / "link").symlink_to("../elsewhere")
    (place.folder / "b/c/d.py").chmod(0o755)
    os.utime(place.folder / "a.ipynb", ns=(1_700_000_000_123_456_789,) * 2)
    bad_name = os.fsencode(place.folder) + b"/not utf-8 \xff"
    Path(os.fsdecode(bad_name)).write_bytes(b"odd")
