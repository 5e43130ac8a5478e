"""Cut a stream of bytes into log lines that a database takes and that hold no secret.

Pure. Control characters and colours go; a line is at most `MAX_LINE` characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_LINE = 16_384

_COLOURS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_HIDDEN = "***"


class LineCutter:
    """The unfinished line of one stream.

    Args:
        secrets: values that are replaced by ``***``, wherever they stand in a line.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._rest = b""
        # Longest first, so that one secret inside another leaves no part of it.
        self._secrets = sorted({s for s in secrets if s}, key=len, reverse=True)

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            complete.append(self._rest)
            self._rest = b""
        return [piece for line in complete for piece in self._clean(line)]

    def end(self) -> list[str]:
        """The line that had no end, if there is one."""
        rest, self._rest = self._rest, b""
        return self._clean(rest) if rest else []

    def _clean(self, line: bytes) -> list[str]:
        text = line.decode("utf-8", errors="replace").rstrip("\r")
        text = text.rpartition("\r")[2]  # a progress bar: what was visible last
        text = _CONTROL.sub("", _COLOURS.sub("", text))
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return [text[at : at + MAX_LINE] for at in range(0, len(text), MAX_LINE)] or [""]
