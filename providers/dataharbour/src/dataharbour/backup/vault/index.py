"""Which content is in which pack: a local copy of the vault's index, in SQLite.

The vault's own form is a few lists of JSON lines, one line a pack. The copy can be thrown away; it
is read from the lists again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Self, cast

from dataharbour.backup.vault.objects import StoredPart
from dataharbour.backup.vault.packs import Form, Pack
from dataharbour.errors import BackupCorrupt

_SCHEMA = """
create table if not exists lists (name text primary key) without rowid;
create table if not exists packs (number integer primary key, name text unique, form text);
create table if not exists contents (digest blob primary key, pack integer) without rowid;
"""


class ContentIndex:
    """The contents of a vault that this process knows of.

    Args:
        path: of the local copy; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = off")  # it can be made again
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lists(self) -> set[str]:
        """The lists that were read."""
        return {str(name) for (name,) in self._rows("select name from lists")}

    def clear(self) -> None:
        """Forget everything."""
        for table in ("contents", "packs", "lists"):
            self._connection.execute(f"delete from {table}")

    def load(self, name: str, data: bytes) -> None:
        """Take in a list of the vault; all of it, or nothing.

        Raises:
            BackupCorrupt: it is no index.
        """
        try:
            packs = list(packs_of(data))
        except (ValueError, KeyError, TypeError) as error:
            raise BackupCorrupt(f"{name} is no index: {error}.", "Is it of this vault?") from error
        self._connection.execute("begin")
        try:
            for pack in packs:
                self._add(pack)
            self._connection.execute("insert or ignore into lists values (?)", (name,))
            self._connection.execute("commit")
        except BaseException:
            self._connection.execute("rollback")
            raise

    def has(self, digest: str) -> bool:
        """Whether a content is in a pack."""
        return self.find(digest) is not None

    def find(self, digest: str) -> str | None:
        """The pack that has a content."""
        found = self._rows(
            "select name from contents join packs on number = pack where digest = ?",
            bytes.fromhex(digest),
        )
        return str(found[0][0]) if found else None

    def form_of(self, pack: str) -> Form:
        """The form of a pack that the index knows."""
        ((form,),) = self._rows("select form from packs where name = ?", pack)
        return cast("Form", form)

    def _add(self, pack: Pack) -> None:
        run, name = self._connection.execute, pack.part.name
        run("insert or ignore into packs (name, form) values (?, ?)", (name, pack.form))
        ((number,),) = self._rows("select number from packs where name = ?", name)
        self._connection.executemany(
            "insert or replace into contents values (?, ?)",
            ((bytes.fromhex(each), number) for each in pack.contents),
        )

    def _rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        with closing(self._connection.execute(sql, values)) as cursor:
            return cursor.fetchall()


def index_lines(packs: Iterable[Pack]) -> bytes:
    """The vault's form of an index: a line of JSON for each pack."""
    return b"".join(
        json.dumps(
            {"pack": pack.part.name, "form": pack.form, "size": pack.part.size_bytes,
             "contents": pack.contents}
        ).encode() + b"\n"
        for pack in packs
    )  # fmt: skip


def packs_of(data: bytes) -> Iterator[Pack]:
    """The packs that a list of an index names."""
    for line in data.splitlines():
        values = json.loads(line)
        part = StoredPart(values["pack"], values["size"])
        yield Pack(part, values["form"], tuple(values["contents"]))
