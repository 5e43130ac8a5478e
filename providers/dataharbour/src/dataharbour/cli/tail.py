"""Print the end of a service's log, and what is added to it."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path

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
    with file.open(errors="replace") as stream:
        sys.stdout.writelines(deque(stream, maxlen=lines))
        while follow:
            sys.stdout.flush()
            line = stream.readline()
            if line:
                sys.stdout.write(line)
            elif file.stat().st_ino != _inode(stream.fileno()):  # rotated
                return tail(folder, service, lines=lines, follow=True)
            else:
                time.sleep(0.2)
    return None


def _inode(descriptor: int) -> int:
    import os

    return os.fstat(descriptor).st_ino
