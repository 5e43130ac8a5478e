"""See the members of a tar go by while its bytes are read, each with its size and SHA-256.

Of the tars that PostgreSQL writes: POSIX ustar, large sizes in base 256. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import BinaryIO

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the tar."""

    size_bytes: int
    sha256: str


class WatchedTar:
    """Reads a tar on, and keeps what its members are.

    Args:
        stream: the tar.
        keep: names of members whose content is kept, too.

    Attributes:
        members: of all regular files that went by whole, by name.
        kept: contents.
        is_complete: the end of the tar was seen.
        read_bytes: so far.

    Raises:
        ValueError: what is read is no tar (from `read`).
    """

    def __init__(self, stream: BinaryIO, *, keep: Collection[str] = ()) -> None:
        self._stream = stream
        self._keep = keep
        self.members: dict[str, Member] = {}
        self.kept: dict[str, bytes] = {}
        self.is_complete = False
        self.read_bytes = 0
        self._rest = b""  # the beginning of a header
        self._name = ""
        self._size = self._left = self._padding = 0
        self._is_file = False
        self._digest = hashlib.sha256()
        self._content: bytearray | None = None

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the tar, unchanged."""
        data = self._stream.read(size)
        self.read_bytes += len(data)
        self._feed(memoryview(data))
        return data

    def _feed(self, data: memoryview) -> None:
        at = 0
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                self._take(part)
                at += len(part)
            elif self._padding:
                skipped = min(self._padding, len(data) - at)
                self._padding -= skipped
                at += skipped
            else:
                missing = _BLOCK - len(self._rest)
                self._rest += bytes(data[at : at + missing])
                at += missing
                if len(self._rest) == _BLOCK:
                    self._begin(self._rest)
                    self._rest = b""

    def _begin(self, header: bytes) -> None:
        if not any(header):
            self.is_complete = True
            return
        if header[257:262] != b"ustar" or _number(header[148:156]) != _sum_of(header):
            raise ValueError("what comes is no tar")
        name, prefix = _text(header[:100]), _text(header[345:500])
        self._name = f"{prefix}/{name}" if prefix else name
        self._size = self._left = _number(header[124:136])
        self._padding = -self._size % _BLOCK
        self._is_file = header[156:157] in (b"0", b"\0")
        self._digest = hashlib.sha256()
        self._content = bytearray() if self._name in self._keep else None
        if not self._left:
            self._end()

    def _take(self, part: memoryview) -> None:
        self._digest.update(part)
        if self._content is not None:
            self._content += part
        self._left -= len(part)
        if not self._left:
            self._end()

    def _end(self) -> None:
        if self._is_file:
            self.members[self._name] = Member(self._size, self._digest.hexdigest())
        if self._content is not None:
            self.kept[self._name] = bytes(self._content)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode(errors="surrogateescape")


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # base 256, for what does not fit into octal digits
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def _sum_of(header: bytes) -> int:
    """The checksum of a header, which counts its own field as blanks."""
    return sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
