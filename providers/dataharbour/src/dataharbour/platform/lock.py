"""The platform's lock: starting, stopping and deleting it do not run beside each other."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from dataharbour.errors import PlatformError
from dataharbour.platform.layout import Home


@contextmanager
def exclusive(home: Home) -> Iterator[None]:
    """Hold the platform's lock: `up` and `down` do not run beside each other.

    Raises:
        PlatformError: another one is at work.
    """
    home.root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home.root / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlatformError(
                f"Another harbour command is starting or stopping the platform in {home.root}.",
                "Wait for it to end; harbour status shows how far it is.",
            ) from None
        yield
    finally:
        os.close(descriptor)
