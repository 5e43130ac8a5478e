"""Choose the platform's ports: those of last time where they are free, else the next free ones."""

from __future__ import annotations

import errno
import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dataharbour.errors import PlatformError
from dataharbour.platform.credentials import write_private

LOOPBACK = "127.0.0.1"

PREFERRED = {
    "api": 8080,
    "postgres": 15432,
    "s3": 18333,
    "s3_master": 18300,
    "s3_volume": 18310,
    "s3_filer": 18320,
    "vault": 18433,
    "vault_master": 18400,
    "vault_volume": 18410,
    "vault_filer": 18420,
    "spark_connect": 15002,
    "spark_ui": 14040,
    "spark_standby_connect": 15003,
    "spark_standby_ui": 14041,
    "spark_master": 17077,
    "spark_rest": 16066,
    "spark_master_ui": 18081,
    "spark_worker_ui": 18082,
    "spark_history": 18083,
    "notebooks": 18899,
}
GRPC_OFFSET = 10_000  # SeaweedFS listens for gRPC at each of its ports plus this
_WITH_GRPC = frozenset(name for name in PREFERRED if name.startswith(("s3", "vault")))
_TRIES = 200
# An abstract socket: the kernel gives the name to one process, and takes it back when that ends.
_TURN = "\0dataharbour.choosing-ports"
_TURN_WITHIN_S = 300.0  # longer than a start takes


@contextmanager
def turn(*, on_wait: Callable[[], None], within_s: float = _TURN_WITHIN_S) -> Iterator[None]:
    """Choose ports, and have them listened at, while no other start on this machine does.

    A port is free until its server listens, so that two starts would choose the same. Whoever
    does not get the turn in time goes on without: a stranger may hold its name.

    Args:
        on_wait: called when it has to wait, once.
        within_s: how long it waits at most.
    """
    deadline, waits = time.monotonic() + within_s, False
    with socket.socket(socket.AF_UNIX) as held:
        while not _bound(held) and time.monotonic() < deadline:
            if not waits:
                on_wait()
            waits = True
            time.sleep(0.1)
        yield


def _bound(held: socket.socket) -> bool:
    try:
        held.bind(_TURN)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def reserved(files: Iterable[Path]) -> set[int]:
    """Ports that other platforms count on, from their files: some are not listened at yet."""
    return {
        port
        for file in files
        for name, first in load(file).items()
        for port in _wanted(name, first)
    }


def choose(
    preferred: dict[str, int], *, is_free: Callable[[int], bool]
) -> tuple[dict[str, int], dict[str, int]]:
    """Give every name a port.

    Args:
        preferred: the port to try first, per name.
        is_free: tells whether nothing listens on a port.

    Returns:
        The chosen ports, and the preferred ones that were taken (name -> port).

    Raises:
        PlatformError: none of 200 ports in a row is free.
    """
    chosen: dict[str, int] = {}
    taken: dict[str, int] = {}
    used: set[int] = set()
    for name, first in preferred.items():
        for port in range(first, first + _TRIES):
            wanted = _wanted(name, port)
            if not used.intersection(wanted) and all(map(is_free, wanted)):
                break
        else:
            raise PlatformError(
                f"No free port for {name} from {first} to {first + _TRIES - 1}.",
                "Stop what listens there (ss -ltnp shows it).",
            )
        if port != first:
            taken[name] = first
        chosen[name] = port
        used.update(wanted)
    return chosen, taken


def _wanted(name: str, port: int) -> tuple[int, ...]:
    return (port, port + GRPC_OFFSET) if name in _WITH_GRPC else (port,)


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def is_open(port: int, *, timeout_s: float = 0.5) -> bool:
    """Whether something answers on `port` of the loopback address."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def load(file: Path) -> dict[str, int]:
    """The ports of the last start; empty when there was none."""
    try:
        return {str(name): int(port) for name, port in json.loads(file.read_text()).items()}
    except (OSError, ValueError):
        return {}


def save(file: Path, ports: dict[str, int]) -> None:
    """Keep `ports` for the next start; the file is never half-written."""
    write_private(file, json.dumps(ports, indent=1))
