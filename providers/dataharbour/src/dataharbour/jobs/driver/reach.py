"""Tell whether a Connect server is there, in milliseconds and without its client.

A stopped process keeps its port open: the kernel accepts, and nobody speaks. So a server on
this machine, which has no TLS, is asked for its first word of HTTP/2.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

from dataharbour.jobs.driver.spec import ConnectSession

LOOK_EVERY_S = 10.0
LOST_AFTER_S = 60.0  # of silence; a collection of garbage takes seconds
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = b"\x04"  # the type of the frame that an HTTP/2 server begins with


def unreachable(host: str, port: int, *, timeout_s: float) -> str | None:
    """Why no server speaks there, or None."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            if host != "localhost":  # elsewhere it may want TLS first
                return None
            connection.sendall(_PREFACE)
            first = connection.recv(9)
    except OSError as error:
        return str(error)
    return None if first[3:4] == _SETTINGS else "it speaks no HTTP/2"


class ServerWatch:
    """Looks at the server of a driver while it runs.

    The client of a server that hangs, or is gone for good, tries again for ten minutes and more.

    Args:
        session: of the driver; None where it has no such server.
        wake: a pipe to the main thread.
        look_every_s: pause between two looks.
        lost_after_s: of silence.

    Attributes:
        lost: the server has not answered for `lost_after_s`.
    """

    def __init__(
        self,
        session: ConnectSession | None,
        *,
        wake: int,
        look_every_s: float = LOOK_EVERY_S,
        lost_after_s: float = LOST_AFTER_S,
    ) -> None:
        self._session = session
        self._wake = wake
        self._look_every_s = look_every_s
        self._lost_after_s = lost_after_s
        self.lost = False

    def start(self) -> None:
        """Begin to look, where there is something to look at."""
        if self._session is not None:
            threading.Thread(target=self._look, name="server-watch", daemon=True).start()

    def _look(self) -> None:
        assert self._session is not None, "else it was not started"
        answered_at = time.monotonic()
        while not self.lost:
            time.sleep(self._look_every_s)
            host, port = self._session.host, self._session.port
            if unreachable(host, port, timeout_s=self._look_every_s) is None:
                answered_at = time.monotonic()
            elif time.monotonic() - answered_at >= self._lost_after_s:
                self.lost = True
                with contextlib.suppress(BlockingIOError):
                    os.write(self._wake, b"w")
