"""Hand the spec of a driver to a supervisor that waits for one, over a socket file.

A supervisor that waits has `FOLDER/PID-START.sock`. Whoever starts a driver gives the spec's file
a name for that supervisor alone, connects, and tells the name; the supervisor takes the file by
deleting it. Without an answer in time the name is withdrawn. Either that succeeds, and one that
wakes up later finds nothing; or it does not, because the file has been taken. So whoever starts a
driver always knows which process has the attempt, and that can be one only.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dataharbour.jobs.driver.process import is_running, start_ticks

_ANSWER_WITHIN_S = 2.0  # less than another driver takes to start on a machine as busy as that
_LONGEST = 4096  # bytes of a path
_HEARD = b"\n"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A supervisor that waits: the very process, and its socket."""

    pid: int
    ticks: int
    socket: Path


def waiting(folder: Path) -> list[Waiting]:
    """The supervisors that wait there; what dead ones left is removed."""
    found = []
    for file in sorted(folder.glob("*.sock")):
        pid, _, ticks = file.stem.partition("-")
        if pid.isdigit() and ticks.isdigit() and is_running(int(pid), int(ticks)):
            found.append(Waiting(int(pid), int(ticks), file))
        else:
            file.unlink(missing_ok=True)
    return found


def hand_over(folder: Path, spec_file: Path) -> Waiting | None:
    """The supervisor that has taken the spec; None: nobody has, nor can any more."""
    for supervisor in waiting(folder):
        offer = spec_file.with_name(f"{spec_file.stem}-{supervisor.socket.stem}.json")
        spec_file.rename(offer)
        _tell(supervisor.socket, offer)
        try:
            offer.rename(spec_file)
        except FileNotFoundError:
            return supervisor
    return None


def _tell(post: Path, offer: Path) -> None:
    """Return once it is answered, or nobody answers: the file says whether it was taken."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(_ANSWER_WITHIN_S)
        with _address(post) as address:
            channel.connect(address)
        channel.sendall(os.fsencode(offer) + b"\n")
        channel.recv(16)


@contextlib.contextmanager
def _address(file: Path) -> Iterator[str]:
    """The socket file's address: of a path the kernel takes 107 bytes, of a folder any number."""
    folder = os.open(file.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{file.name}"
    finally:
        os.close(folder)


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
        with _address(draft) as address:
            self._socket.bind(address)
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
            has_taken = bool(line) and take(Path(os.fsdecode(line)))
            if has_taken:
                self.close()
            with contextlib.suppress(OSError):  # they have gone; what is ours is ours all the same
                visitor.sendall(_HEARD)
            return has_taken
        return False

    def close(self) -> None:
        """Be found no more."""
        self._file.unlink(missing_ok=True)
        self._socket.close()
