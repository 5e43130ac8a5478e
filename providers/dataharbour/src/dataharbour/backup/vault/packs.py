"""Collect contents into packs: each content once, many small ones together, large ones in pieces.

A pack of small contents is a tar whose members are named by the SHA-256 of their content. A piece
of a large one is stored as it is, so that its pieces in order are the content again.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Literal, Self

from dataharbour.backup.vault.objects import StoredPart

PACK_BYTES = 32 * 2**20  # before compression; also the size of a piece
_ALONE_BYTES = PACK_BYTES // 2  # from here on a content is a pack of its own
_AT_ONCE = 2  # packs that are sealed and written while the next is filled: what memory is for

Form = Literal["tar", "raw"]


@dataclass(frozen=True, slots=True)
class Pack:
    """What one pack holds.

    Attributes:
        part: the pack as it was written.
        form: ``tar`` of many contents, or one content ``raw``.
        contents: SHA-256 of each.
    """

    part: StoredPart
    form: Form
    contents: tuple[str, ...]


class Packer:
    """Takes contents, and writes packs of those that nobody has stored yet.

    Sealing and writing happen in threads beside the caller. Leaving the context without an error
    writes what is left; `written` is told of each pack when it is in the vault, in this thread.

    Args:
        is_known: whether the vault has a content already.
        write: seals and stores the bytes of a pack; called in several threads.
        written: is told.
    """

    def __init__(
        self,
        *,
        is_known: Callable[[str], bool],
        write: Callable[[bytes], StoredPart],
        written: Callable[[Pack], None],
    ) -> None:
        self._is_known = is_known
        self._write = write
        self._written = written
        self._filling: dict[str, bytes] = {}
        self._filled_bytes = 0
        self._under_way: list[tuple[Future[StoredPart], Form, tuple[str, ...]]] = []
        self._under_way_contents: set[str] = set()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pack")

    def add(self, content: bytes) -> str:
        """Take one content of at most `PACK_BYTES`; its SHA-256."""
        digest = hashlib.sha256(content).hexdigest()
        if digest in self._filling or digest in self._under_way_contents or self._is_known(digest):
            return digest
        if len(content) >= _ALONE_BYTES:
            self._start(content, "raw", (digest,))
            return digest
        if self._filled_bytes + len(content) > PACK_BYTES:
            self._start_filled()
        self._filling[digest] = content
        self._filled_bytes += len(content)
        return digest

    def add_stream(self, stream: BinaryIO) -> tuple[str, tuple[str, ...]]:
        """Take a content of any size: its SHA-256, and those of its pieces in order."""
        whole, pieces = hashlib.sha256(), []
        while piece := _read_full(stream, PACK_BYTES):
            whole.update(piece)
            pieces.append(self.add(piece))
        return whole.hexdigest(), tuple(pieces)

    def flush(self) -> None:
        """Write all that was taken; it is in the vault, and told, when this returns."""
        self._start_filled()
        while self._under_way:
            self._finish_oldest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def _start_filled(self) -> None:
        if self._filling:
            self._start(_tar_of(self._filling.items()), "tar", tuple(self._filling))
            self._filling, self._filled_bytes = {}, 0

    def _start(self, data: bytes, form: Form, contents: tuple[str, ...]) -> None:
        while len(self._under_way) >= _AT_ONCE:
            self._finish_oldest()
        self._under_way.append((self._threads.submit(self._write, data), form, contents))
        self._under_way_contents.update(contents)

    def _finish_oldest(self) -> None:
        future, form, contents = self._under_way[0]
        part = future.result()
        del self._under_way[0]
        self._written(Pack(part, form, contents))
        self._under_way_contents.difference_update(contents)


def contents_of(data: bytes, form: Form, digests: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """What an opened pack holds: each content with its SHA-256, which is checked.

    Args:
        data: of the pack, unsealed.
        form: as it was written.
        digests: the one content of a ``raw`` pack.

    Raises:
        ValueError: a content is not what its name says, or the tar is damaged.
    """
    if form == "raw":
        (digest,) = digests
        yield _checked(digest, data)
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is not None:
                    yield _checked(member.name, file.read())
    except tarfile.TarError as error:
        raise ValueError(f"the tar is damaged: {error}") from error


def _checked(digest: str, content: bytes) -> tuple[str, bytes]:
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"content {digest} has other bytes than its name says")
    return digest, content


def _tar_of(contents: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar; nothing of it depends on when or by whom it is made."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for digest, content in contents:
            member = tarfile.TarInfo(digest)
            member.size, member.mode = len(content), 0o600
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _read_full(stream: BinaryIO, size: int) -> bytes:
    """The next `size` bytes, less only at the end; a pipe gives what it has."""
    pieces, missing = [], size
    while missing and (piece := stream.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
