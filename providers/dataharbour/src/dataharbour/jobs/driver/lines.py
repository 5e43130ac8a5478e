"""Make text that a database takes and that holds no secret; cut a stream into such lines.

Pure. Control characters and colours go; a line is at most `MAX_LINE` characters.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Iterable

MAX_LINE = 16_384

_COLOURS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_HIDDEN = "***"


class Cleaner:
    """Takes out of a text what a database refuses, and secrets.

    Args:
        secrets: values that are replaced by ``***``, wherever they stand.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first, so that one secret inside another leaves no part of it.
        self._secrets = sorted({s for s in secrets if s}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text as it may be shown and kept; its line ends stay."""
        text = _plain(text)
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text

    def whole(self, text: str) -> int:
        """Where plain text can be cut so that no secret is in two halves, whatever follows it."""
        at = max(len(text) - max(map(len, self._secrets), default=0), 0)
        while halved := [
            start
            for secret in self._secrets
            if (start := text.find(secret, max(at - len(secret) + 1, 0), at + len(secret) - 1)) >= 0
        ]:
            at = min(halved)
        return at


class LineCutter:
    """The unfinished line of one stream."""

    def __init__(self, clean: Cleaner) -> None:
        self._clean = clean
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        *complete, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        lines = [piece for line in complete for piece in self._pieces(line)]
        if len(self._rest) > MAX_LINE:
            lines += self._cut()
        return lines

    def end(self) -> list[str]:
        """The line that had no end, if there is one."""
        rest, self._rest = self._rest + self._decoder.decode(b"", final=True), ""
        return self._pieces(rest) if rest else []

    def _cut(self) -> list[str]:
        """Most of an endless line; its last characters may be half a secret, and wait."""
        text = _plain(_visible(self._rest))
        at = self._clean.whole(text)
        self._rest = text[at:] + ("\r" if self._rest.endswith("\r") else "")
        return self._pieces(text[:at]) if at else []

    def _pieces(self, line: str) -> list[str]:
        text = self._clean(_visible(line))
        return [text[at : at + MAX_LINE] for at in range(0, len(text), MAX_LINE)] or [""]


def _visible(line: str) -> str:
    """Of a progress bar: what was visible last."""
    return line.rstrip("\r").rpartition("\r")[2]


def _plain(text: str) -> str:
    return _CONTROL.sub("", _COLOURS.sub("", text))
