"""The platform's lock: starting, stopping and deleting it do not run beside each other."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataharbour.errors import PlatformError
from dataharbour.platform.layout import Home


@contextmanager
def exclusive(home: Home) -> Iterator[None]:
    """Hold the platform's lock: `up` and `down` do not run beside each other.

    Raises:
        PlatformError: another one is at work.
    """
    descriptor = _open(home)
    try:
        yield
    finally:
        os.close(descriptor)


def lock_file(home: Home) -> Path:
    """What is locked."""
    return home.root / ".lock"


def _open(home: Home) -> int:
    """The locked file, which is still the one at its place: `destroy` deletes it."""
    while True:
        home.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock_file(home), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(lock_file(home)), os.fstat(descriptor)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise PlatformError(
                f"Another harbour command is starting or stopping the platform in {home.root}.",
                "Wait for it to end; harbour status shows how far it is.",
            ) from None
        except FileNotFoundError:
            pass
        os.close(descriptor)
