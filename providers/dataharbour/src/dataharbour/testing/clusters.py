"""A PostgreSQL 18 of its own, for tests."""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dataharbour.postgres.cluster import Account, Cluster, answers, initialise, server_command


@dataclass
class RunningCluster:
    """A server that runs, and can be killed and started again."""

    cluster: Cluster
    log: Path
    settings: Mapping[str, str]
    server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        account = self.cluster.account
        with self.log.open("ab") as log:
            self.server = subprocess.Popen(
                server_command(self.cluster, self.settings),
                stdout=log,
                stderr=log,
                cwd="/",
                preexec_fn=_end_with_the_tests,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        deadline = time.monotonic() + 30
        while reason := answers(self.cluster):
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(
                    f"PostgreSQL did not start: {reason}\n{self.log.read_text()[-3000:]}"
                )
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the server, by default at once, as if it had crashed."""
        if self.server is not None:
            self.server.send_signal(how)
            self.server.wait(20)
            self.server = None


@contextmanager
def running_cluster(
    settings: Mapping[str, str] = {}, *, access: str | None = None
) -> Iterator[RunningCluster]:
    """A new cluster, whose server runs until the context ends; then it is thrown away.

    Args:
        settings: of the server.
        access: the whole of pg_hba.conf; None: as `initialise` makes it, with passwords.
    """
    folder = Path(tempfile.mkdtemp(prefix="dh-pg-"))
    folder.chmod(0o711)  # the server runs as another user when the tests run as root
    cluster = Cluster(folder / "data", free_port(), secrets.token_hex(), server_account())
    running = RunningCluster(cluster, folder / "log", settings)
    try:
        initialise(cluster)
        if access is not None:
            (cluster.data / "pg_hba.conf").write_text(access)
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def server_account() -> Account | None:
    """Whom a server runs as when the tests run as root; PostgreSQL refuses that."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def _end_with_the_tests() -> None:
    """Linux sends the server SIGQUIT when this process is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def free_port() -> int:
    """A port of the loopback address that nothing listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
