"""Print the end of a service's log, and what is added to it."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import TextIO

from dataharbour.errors import NotFound


def tail(folder: Path, service: str, *, lines: int, follow: bool) -> None:
    """Print the last `lines` of ``folder/service.log``; with `follow` go on until interrupted.

    Raises:
        NotFound: there is no such log.
    """
    known = sorted(path.stem for path in folder.glob("*.log"))
    if service not in known:
        raise NotFound(
            f"There is no log of {service!r} in {folder}.",
            f"Choose one of: {', '.join(known) or '(none yet; run ./harbour up)'}.",
        )
    file = folder / f"{service}.log"
    stream: TextIO = file.open(errors="replace")
    try:
        sys.stdout.writelines(deque(stream, maxlen=lines))
        while follow:
            successor = _successor(file, stream)
            sys.stdout.writelines(stream)  # after that look, so this is all that it got
            sys.stdout.flush()
            if successor:
                stream.close()
                stream = successor
            else:
                time.sleep(0.2)
    finally:
        stream.close()


def _successor(file: Path, stream: TextIO) -> TextIO | None:
    """The new log where `stream` was rotated away; None also between the rename and its making."""
    try:
        found = file.open(errors="replace")
    except FileNotFoundError:
        return None
    if os.path.sameopenfile(found.fileno(), stream.fileno()):
        found.close()
        return None
    return found
