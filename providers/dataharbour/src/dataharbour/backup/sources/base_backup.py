"""A PostgreSQL cluster as a source: base backups by pg_basebackup, full or incremental.

The tar that the server sends goes into the vault as it is, in pieces, with the WAL that makes it
whole. Each file in it is compared with the server's own manifest while it goes by.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from dataharbour.backup.sources.base_manifest import (
    NAME,
    BaseManifest,
    differences,
    parse_manifest,
)
from dataharbour.backup.sources.programs import Program, running
from dataharbour.backup.sources.tar_members import WatchedTar
from dataharbour.backup.vault.reading import PointReader
from dataharbour.backup.vault.session import SourcePart, WritingSession
from dataharbour.errors import BackupCorrupt, Unavailable

LONGEST_CHAIN = 6  # a full one every week
# What the server says where it cannot send an incremental one.
_NOT_INCREMENTAL = (
    "WAL summar", "summarize_wal", "system identifier", "timeline", "manifest",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server, as its programs reach it.

    Attributes:
        host, port, user: of a role that may replicate.
        password: goes by a file that only its owner reads.
        programs: the folder of PostgreSQL's programs.
    """

    host: str
    port: int
    user: str
    programs: Path
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BaseBackup:
    """A base backup in a recovery point.

    Attributes:
        form: ``full``, or ``incremental`` to the one of the point `parent`.
        parent: the number of that point, or None.
        pieces: SHA-256 of the pieces of the tar, in order.
        manifest: the manifest, kept as a list: its name and size.
        chain: how many incremental ones lie between this and its full one.
        bytes: of the tar.
        system_identifier: of the cluster, as text.
        timeline, start_lsn, end_lsn: of the WAL that it needs, which is in the tar.
    """

    form: str
    parent: int | None
    pieces: tuple[str, ...]
    manifest: Mapping[str, Any]
    chain: int
    bytes: int
    system_identifier: str
    timeline: int
    start_lsn: str
    end_lsn: str

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> BaseBackup:
        """As a point tells it."""
        values = {name: about[name] for name in cls.__slots__}
        return cls(**values | {"pieces": tuple(about["pieces"])})

    @property
    def told(self) -> dict[str, Any]:
        """As a point tells it."""
        return {name: getattr(self, name) for name in self.__slots__}


def back_up_base(
    session: WritingSession,
    server: Server,
    *,
    longest_chain: int = LONGEST_CHAIN,
) -> SourcePart:
    """Take a base backup into a recovery point: incremental to that of the point before.

    It is a full one where that point has none, where the chain would become too long, or where the
    server has no summaries of the WAL since (`summarize_wal`), or is another cluster by now.

    Args:
        session: of the source, such as ``postgres:main``.
        server: the cluster's.
        longest_chain: how many incremental ones may follow a full one; 0: always full.

    Raises:
        Unavailable: the server does not answer, or pg_basebackup failed; its words are in it.
        BackupCorrupt: what came is not what the server's manifest says.
    """
    parent = _parent(session, longest_chain)
    if parent is not None:
        try:
            return _taken(session, server, parent)
        except Unavailable as error:
            if not any(word in error.problem for word in _NOT_INCREMENTAL):
                raise
            session.writer.log(f"A full base backup, because: {error.problem}")
    return _taken(session, server, None)


def _parent(session: WritingSession, longest_chain: int) -> BaseBackup | None:
    """The base that an incremental one is built upon."""
    about = session.about_before()
    if about is None or "base" not in about:
        return None
    before = BaseBackup.of(about["base"])
    return before if before.chain < longest_chain else None


def _taken(session: WritingSession, server: Server, parent: BaseBackup | None) -> SourcePart:
    with ExitStack() as stack:
        command = [
            str(server.programs / "pg_basebackup"), "--pgdata=-", "--format=tar",
            "--wal-method=fetch", "--checkpoint=fast", "--manifest-checksums=SHA256",
            "--no-password", f"--label=dataharbour {session.point.id}",
        ]  # fmt: skip
        if parent is not None:
            manifest_file = stack.enter_context(_file_with(session.kept(parent.manifest)))
            command.append(f"--incremental={manifest_file}")
        program = stack.enter_context(_running(command, server))
        tar = WatchedTar(program.output, keep=(NAME,))
        try:
            _, pieces = session.packer.add_stream(cast("BinaryIO", tar))
        except ValueError as error:
            raise program.failed(str(error)) from error
        program.finish()
    manifest = _checked(tar)
    wal = manifest.wal[-1]
    base = BaseBackup(
        form="full" if parent is None else "incremental",
        parent=None if parent is None else session.point.parent,
        pieces=pieces,
        manifest=session.keep(tar.kept[NAME]),
        chain=0 if parent is None else parent.chain + 1,
        bytes=tar.read_bytes,
        system_identifier=str(manifest.system_identifier),
        timeline=wal.timeline,
        start_lsn=wal.start_lsn,
        end_lsn=wal.end_lsn,
    )
    return session.finish((), lambda: {"kind": "postgres", "base": base.told})


def restore_base(reader: PointReader, base: BaseBackup, target: Path) -> BaseManifest:
    """Unpack the tar of a base backup into an empty folder; an incremental one is not combined.

    Raises:
        BackupCorrupt: a piece is missing or damaged.
        Unavailable: tar failed; its words are in it.
    """
    target.mkdir(mode=0o700)
    command = ["tar", "--extract", "--file=-", f"--directory={target}", "--no-same-owner"]
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
    with running(command, environment=environment, writes=False) as tar:
        with suppress(BrokenPipeError), tar.input:  # it has ended then, and says why
            for piece in reader.pieces(base.pieces):
                tar.input.write(piece)
        tar.finish()
    return parse_manifest((target / NAME).read_bytes())


def _checked(tar: WatchedTar) -> BaseManifest:
    if not tar.is_complete or NAME not in tar.kept:
        raise BackupCorrupt(
            f"The base backup ended after {tar.read_bytes:,} bytes, before its manifest.",
            "Look at the server's log; nothing was kept of it.",
        )
    manifest = parse_manifest(tar.kept[NAME])
    wrong = list(differences(manifest, tar.members))
    if wrong:
        raise BackupCorrupt(
            f"The base backup has {len(wrong)} faults; the first: {wrong[0]}",
            "Look at the server's disk and memory; nothing was kept of it.",
        )
    return manifest


@contextmanager
def _running(command: list[str], server: Server) -> Iterator[Program]:
    """A program of PostgreSQL's, whose password is in a file, and in no argument."""
    entry = (server.host, str(server.port), "*", server.user, server.password)
    line = ":".join(each.replace("\\", "\\\\").replace(":", "\\:") for each in entry)
    with _file_with(line.encode() + b"\n") as password_file:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "LC_ALL": "C",
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.user,
            "PGPASSFILE": password_file,
            "PGCONNECT_TIMEOUT": "10",
            "PGAPPNAME": "dataharbour",
        }
        with running(command, environment=environment, writes=True) as program:
            yield program


@contextmanager
def _file_with(data: bytes) -> Iterator[str]:
    """A file that only its owner reads."""
    with tempfile.NamedTemporaryFile(prefix="dataharbour-") as file:
        file.write(data)
        file.flush()
        yield file.name
