from __future__ import annotations

import socket
import tomllib

import pytest

from dataharbour.platform import object_store
from dataharbour.platform.object_store import Store

KEYS = {"admin": ("ACCESS", "secret")}
PORTS = {"s3": 41_001, "s3_master": 41_002, "s3_volume": 41_003, "s3_filer": 41_004}
CERTIFICATES = ("ca.pem", "store.pem", "store.key")


@pytest.fixture
def store(tmp_path):
    return Store("s3", tmp_path / "data", tmp_path / "config", PORTS)


def test_the_configuration_may_be_moved_with_the_state_folder(store, tmp_path):
    object_store.write_config(store, KEYS)
    text = (store.config / "security.toml").read_text()
    assert str(tmp_path) not in text
    grpc = tomllib.loads(text)["grpc"]
    for part in ("master", "volume", "filer", "s3", "client"):
        assert (store.config / grpc[part]["cert"]).is_file()
        assert (store.config / grpc[part]["key"]).is_file()
    assert (store.config / grpc["ca"]).is_file()


def test_what_is_there_stays(store):
    object_store.write_config(store, KEYS)
    before = {p.name: p.read_text() for p in store.config.iterdir()}
    object_store.write_config(store, KEYS)
    assert {p.name: p.read_text() for p in store.config.iterdir()} == before


@pytest.mark.parametrize("lost", CERTIFICATES)
def test_a_lost_certificate_makes_new_ones_that_fit_together(store, lost):
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    object_store.write_config(store, KEYS)
    (store.config / lost).unlink()
    object_store.write_config(store, KEYS)
    authority, own = (
        x509.load_pem_x509_certificate((store.config / name).read_bytes())
        for name in ("ca.pem", "store.pem")
    )
    key = load_pem_private_key((store.config / "store.key").read_bytes(), None)
    own.verify_directly_issued_by(authority)
    assert own.public_key() == key.public_key()


def test_a_socket_file_that_another_platform_listens_on_stays(store):
    dead, alive = store.sockets[:2]
    try:
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(dead))
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(alive))
            server.listen()
            object_store.remove_sockets(store)
            assert (dead.exists(), alive.exists()) == (False, True)
        object_store.remove_sockets(store)
        assert not alive.exists()
    finally:
        for file in store.sockets:
            file.unlink(missing_ok=True)
