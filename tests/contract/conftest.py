"""The real object stores of the platform, alone, for the contract suites."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from dataharbour.platform import object_store
from dataharbour.platform.ports import PREFERRED, choose, is_free


@dataclass(frozen=True)
class Bucket:
    """A bucket of a running store, and who may use it: key and secret by the identity's name."""

    endpoint_url: str
    bucket: str
    identities: Mapping[str, tuple[str, str]]

    @property
    def access_key(self) -> str:
        """Of whoever works with it every day."""
        return next(iter(self.identities.values()))[0]

    @property
    def secret_key(self) -> str:
        """Of whoever works with it every day."""
        return next(iter(self.identities.values()))[1]


@pytest.fixture(scope="session")
def lake_bucket() -> Iterator[Bucket]:
    """The bucket `lake` of a SeaweedFS of its own, as the platform starts it."""
    with _running("s3", users=("spark",), admin="admin") as (endpoint, identities):
        yield Bucket(endpoint, "lake", identities)


@pytest.fixture(scope="session")
def vault_bucket() -> Iterator[Bucket]:
    """The bucket `vault` of another one: versioned, with object lock."""
    users = ("backup", "prune")
    with _running("vault", users=users, admin="vault_admin") as (endpoint, identities):
        yield Bucket(endpoint, "vault", identities)


@contextmanager
def _running(
    name: str, *, users: Sequence[str], admin: str
) -> Iterator[tuple[str, Mapping[str, tuple[str, str]]]]:
    folder = Path(mkdtemp(prefix=f"dh-{name}-"))
    first = {port: n + 4_000 for port, n in PREFERRED.items() if port.startswith(name)}
    ports, _ = choose(first, is_free=is_free)
    store = object_store.Store(name, folder / "data", folder / "config", ports)
    keys = {user: (user, f"{user}-secret") for user in (*users, admin)}
    object_store.write_config(store, keys)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            object_store.command(store), cwd=store.config, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 60
        while (problem := object_store.answers(store, keys[admin])) is not None:
            log_text = (folder / "log").read_text(errors="replace")[-3_000:]
            assert time.monotonic() < deadline, f"{problem}\n{log_text}"
            assert process.poll() is None, log_text
            time.sleep(0.2)
        object_store.ensure_buckets(store, keys[admin])
        yield store.endpoint, keys
    finally:
        process.kill()  # the data is thrown away
        process.wait()
        object_store.remove_sockets(store)
        rmtree(folder, ignore_errors=True)
