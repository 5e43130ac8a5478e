"""Tell the supervisor: JSON lines on a named pipe. Standard library only, as all in the child."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from typing import Any


class Control:
    """The pipe to the supervisor. A lost supervisor never hurts the application."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        try:
            # Without O_NONBLOCK the call would wait for a supervisor that is not there.
            self._pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.set_blocking(self._pipe, True)
        except OSError:
            self._pipe = -1

    def send(self, **message: Any) -> None:
        """Write one message."""
        data = json.dumps(message).encode() + b"\n"
        with self._lock, contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._pipe, data) :]
