"""The platform after what breaks it: emptied buckets, lost certificates, Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dataharbour.platform import credentials, launch, object_store, ports
from dataharbour.platform.layout import Home
from dataharbour.platform.object_store import CANARY, Store
from dataharbour.testing.running_platform import run_harbour

pytestmark = pytest.mark.integration

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
FIRST_PORTS = {"s3": 26333, "s3_master": 26300, "s3_volume": 26310, "s3_filer": 26320}


def test_up_brings_back_emptied_buckets(platform):
    secret = credentials.load(platform.home.secrets)
    known = ports.load(platform.home.run / "ports.json")
    emptied = []
    for name, keys in (("s3", secret.s3["admin"]), ("vault", secret.vault["vault_admin"])):
        store = Store(name, platform.home.data, platform.home.config, known)
        s3 = object_store.client(store.endpoint, keys)
        for bucket in store.buckets:
            s3.delete_object(Bucket=bucket, Key=CANARY)
            emptied.append((s3, bucket))
    platform.harbour("up", "--no-tour")
    for s3, bucket in emptied:
        assert s3.get_object(Bucket=bucket, Key=CANARY)["Body"].read() == b"ready"


def speaks_without_tls(port: int) -> bool:
    """Whether whoever listens there answers a stranger's HTTP/2 preface with its settings."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
                stranger.sendall(PREFACE)
                return stranger.recv(9)[3:4] == b"\x04"
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nobody listens on {port}"
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("lost", "is_open"),
    [
        (("store.key",), False),
        (("ca.pem", "store.pem", "store.key"), False),
        (("security.toml",), True),  # so the test sees an open port when there is one
    ],
    ids=["key", "certificates", "configuration"],
)
def test_a_store_that_lost_its_certificates_does_not_open_its_ports(tmp_path, lost, is_open):
    chosen, _ = ports.choose(FIRST_PORTS, is_free=ports.is_free)
    store = Store("s3", tmp_path / "data", tmp_path / "config", chosen)
    object_store.write_config(store, {"admin": ("ACCESS", "secret")})
    for name in lost:
        (store.config / name).unlink()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            object_store.command(store), cwd=store.config, stdout=log, stderr=log
        )
    try:
        assert speaks_without_tls(store.port("master") + ports.GRPC_OFFSET) is is_open
    finally:
        process.kill()
        process.wait()
        object_store.remove_sockets(store)


def test_ctrl_c_ends_a_start_at_once_and_destroy_leaves_the_vault_elsewhere():
    with tempfile.TemporaryDirectory(prefix="harbour-") as folder:
        Path(folder).chmod(0o711)
        home = Home(Path(folder) / "home")
        start = subprocess.Popen(
            [sys.executable, "-m", "dataharbour.cli", "up", "--no-tour"],
            env={**os.environ, "HARBOUR_HOME": str(home.root), "HARBOUR_VAULT_DIR": "my vault"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            process_group=0,
            text=True,
            # A shell's background job, which a test run may be, ignores interrupts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            deadline = time.monotonic() + 120
            while not (spark := list(launch.marked(str(home.root), service="spark"))):
                assert start.poll() is None, start.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            os.kill(spark[0], signal.SIGSTOP)  # `up` would wait for it until its time is over
            os.killpg(start.pid, signal.SIGINT)  # as a terminal does
            assert start.wait(60) == 130, start.stderr.read()
        finally:
            for pid in launch.marked(str(home.root), service="spark"):
                os.kill(pid, signal.SIGCONT)
            start.kill()
            start.wait()
            start.stderr.close()
            gone = run_harbour(home.root, "destroy", "--yes")
        assert launch.marked(str(home.root)) == {}
        vault = Path(folder, "my vault")
        assert str(vault) in gone.stderr
        assert vault.is_dir()
        assert not home.root.exists()
