"""Hand the spec of a driver to a supervisor that waits for one, over a socket file.

A supervisor that waits has `FOLDER/PID-START.sock`. Whoever starts a driver connects, names
the spec's file, and hears ``taken`` or ``no``. Without an answer in time it starts a driver of its
own: the file can be taken only once, and the attempt be claimed only once.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from dataharbour.jobs.driver.process import is_running, start_ticks

_ANSWER_WITHIN_S = 1.0
_LONGEST = 4096  # bytes of a path
_TAKEN, _NO = b"taken\n", b"no\n"


def waiting(folder: Path) -> list[tuple[int, Path]]:
    """The supervisors that wait there, with their sockets; what dead ones left is removed."""
    found = []
    for file in sorted(folder.glob("*.sock")):
        pid, _, ticks = file.stem.partition("-")
        if pid.isdigit() and ticks.isdigit() and is_running(int(pid), int(ticks)):
            found.append((int(pid), file))
        else:
            file.unlink(missing_ok=True)
    return found


def hand_over(folder: Path, spec_file: Path) -> int | None:
    """The pid of the supervisor that has taken the spec, or None: nobody has."""
    for pid, file in waiting(folder):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(_ANSWER_WITHIN_S)
            channel.connect(str(file))
            channel.sendall(os.fsencode(spec_file) + b"\n")
            if channel.recv(16) == _TAKEN:
                return pid
    return None


class Post:
    """The place where a supervisor waits.

    Args:
        folder: where its socket is; only its owner may enter it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._file = folder / f"{os.getpid()}-{start_ticks(os.getpid())}.sock"
        self._socket = socket.socket(socket.AF_UNIX)
        draft = self._file.with_suffix(".new")
        draft.unlink(missing_ok=True)
        self._socket.bind(str(draft))
        self._socket.listen(4)
        draft.rename(self._file)  # nobody finds it before it listens

    def fileno(self) -> int:
        """Readable when somebody comes."""
        return self._socket.fileno()

    def answer(self, take: Callable[[Path], bool]) -> bool:
        """Hear one visitor; whether `take` has taken what they brought, and the post is closed."""
        visitor, _ = self._socket.accept()
        with contextlib.suppress(OSError), visitor:
            visitor.settimeout(_ANSWER_WITHIN_S)
            with visitor.makefile("rb") as text:
                line = text.readline(_LONGEST).rstrip(b"\n")
            if line and take(Path(os.fsdecode(line))):
                self.close()
                with contextlib.suppress(OSError):  # they have gone; the work is ours all the same
                    visitor.sendall(_TAKEN)
                return True
            visitor.sendall(_NO)
        return False

    def close(self) -> None:
        """Be found no more."""
        self._file.unlink(missing_ok=True)
        self._socket.close()
