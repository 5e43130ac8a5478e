"""The real object store of the platform, alone, for the contract suites."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from dataharbour.platform import object_store
from dataharbour.platform.ports import PREFERRED, choose, is_free

FIRST_PORT = {name: port + 4_000 for name, port in PREFERRED.items() if name.startswith("s3")}


@dataclass(frozen=True)
class Lake:
    """The bucket `lake` of a running store, and the identity that may use it."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str = "lake"


@pytest.fixture(scope="session")
def lake_bucket() -> Iterator[Lake]:
    """A SeaweedFS of its own, as the platform starts it."""
    folder = Path(mkdtemp(prefix="dh-s3-"))
    ports, _ = choose(FIRST_PORT, is_free=is_free)
    store = object_store.Store("s3", folder / "data", folder / "config", ports)
    keys = {"admin": ("admin", "admin-secret"), "spark": ("spark", "spark-secret")}
    object_store.write_config(store, keys)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            object_store.command(store), cwd=store.config, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 60
        while (problem := object_store.answers(store, keys["admin"])) is not None:
            log_text = (folder / "log").read_text(errors="replace")[-3_000:]
            assert time.monotonic() < deadline, f"{problem}\n{log_text}"
            assert process.poll() is None, log_text
            time.sleep(0.2)
        object_store.ensure_buckets(store, keys["admin"])
        yield Lake(store.endpoint, *keys["spark"])
    finally:
        process.kill()  # the data is thrown away
        process.wait()
        object_store.remove_sockets(store)
        rmtree(folder, ignore_errors=True)
