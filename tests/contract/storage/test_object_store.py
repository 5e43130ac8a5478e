from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dataharbour.errors import ConfigError, NotFound, Unavailable
from dataharbour.storage.address import folder_address
from dataharbour.storage.folder import FolderStore
from dataharbour.storage.open import open_store
from dataharbour.storage.s3 import S3Store
from dataharbour.storage.store import ObjectStore

AWKWARD = ["a b", "a+b", "a%20b", "month=1/é", "z", "Z", "a/b/c", "a.b"]


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "lake")
    return s3_store(request)


def s3_store(request, **other) -> S3Store:
    lake = request.getfixturevalue("lake_bucket")
    values = {"access_key": lake.access_key, "secret_key": lake.secret_key, **other}
    return S3Store(lake.bucket, **{"endpoint_url": lake.endpoint_url, **values})


@pytest.fixture
def root() -> str:
    """A prefix of its own: the bucket is shared by the tests."""
    return f"t-{secrets.token_hex(4)}"


def keys(store: ObjectStore, prefix: str) -> list[str]:
    return [found.key for found in store.objects(prefix)]


def test_what_was_put_is_read_back(store, root):
    store.put(f"{root}/x", b"one")
    store.put(f"{root}/x", b"two")
    assert store.read(f"{root}/x") == b"two"


def test_an_empty_object_is_an_object(store, root):
    store.put(f"{root}/empty", b"")
    assert store.read(f"{root}/empty") == b""
    assert [o.size_bytes for o in store.objects(root)] == [0]


def test_every_key_is_listed_once_and_read_as_it_was_written(store, root):
    for key in AWKWARD:
        store.put(f"{root}/{key}", key.encode())
    assert sorted(keys(store, f"{root}/")) == sorted(f"{root}/{key}" for key in AWKWARD)
    for key in AWKWARD:
        assert store.read(f"{root}/{key}") == key.encode()


def test_a_prefix_is_no_folder(store, root):
    for key in ("gold/x", "golden/x", "gold.txt"):
        store.put(f"{root}-{key}", b"")
    assert keys(store, f"{root}-gold/") == [f"{root}-gold/x"]
    assert len(keys(store, f"{root}-gold")) == 3
    assert keys(store, f"{root}-nothing/") == []


def test_folders_are_named_once_and_only_those_right_below(store, root):
    for key in ("a/x", "a/y", "b c/d/x", "file"):
        store.put(f"{root}/{key}", b"")
    assert sorted(store.folders(f"{root}/")) == ["a", "b c"]
    assert list(store.folders(f"{root}/nothing/")) == []


def test_an_object_knows_its_size_and_its_time(store, root):
    store.put(f"{root}/x", b"12345")
    (found,) = store.objects(root)
    assert found.size_bytes == 5
    assert abs(found.modified_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_copy_replaces_its_target(store, root):
    store.put(f"{root}/source", b"new")
    store.put(f"{root}/to/target", b"old content")
    store.copy(f"{root}/source", f"{root}/to/target")
    assert store.read(f"{root}/to/target") == b"new"
    assert store.read(f"{root}/source") == b"new"


def test_awkward_names_can_be_copied(store, root):
    for key in AWKWARD:
        store.put(f"{root}/{key}", key.encode())
        store.copy(f"{root}/{key}", f"{root}-copy/{key}")
        assert store.read(f"{root}-copy/{key}") == key.encode()


def test_a_large_object_is_copied_whole(store, root):
    data = secrets.token_bytes(20 * 2**20)
    store.put(f"{root}/large", data)
    store.copy(f"{root}/large", f"{root}/copy")
    assert store.read(f"{root}/copy", limit_bytes=2**30) == data


def test_delete_takes_many_and_misses_none(store, root):
    names = [f"{root}/{i:04}" for i in range(1_050)]
    for name in names[:30]:
        store.put(name, b"x")
    store.put(f"{root}/kept", b"x")
    store.delete(iter(names))  # most of them never existed
    assert keys(store, root) == [f"{root}/kept"]
    store.delete([])


def test_a_missing_object_is_named(store, root):
    with pytest.raises(NotFound, match=f"{root}/nothing"):
        store.read(f"{root}/nothing")
    with pytest.raises(NotFound, match=f"{root}/nothing"):
        store.copy(f"{root}/nothing", f"{root}/target")
    assert keys(store, root) == []


def test_a_large_object_is_not_read_whole_by_accident(store, root):
    store.put(f"{root}/x", b"123456")
    with pytest.raises(ConfigError, match="larger than 5 bytes"):
        store.read(f"{root}/x", limit_bytes=5)


def test_a_folder_store_does_not_leave_its_folder(tmp_path):
    store = FolderStore(tmp_path / "lake")
    for key in ("../x", "/etc/passwd", "a/../../x", ""):
        with pytest.raises(ConfigError):
            store.put(key, b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_store_shows_no_unfinished_file(tmp_path):
    store = FolderStore(tmp_path)
    store.put("a/x", b"x")
    (tmp_path / "a" / ".unfinished-1").write_bytes(b"half")
    assert keys(store, "") == ["a/x"]


def test_a_folder_store_leaves_no_empty_folders(tmp_path):
    store = FolderStore(tmp_path / "lake")
    store.put("a/b/c", b"x")
    store.put("a/d", b"x")
    store.delete(["a/b/c"])
    assert not (tmp_path / "lake" / "a" / "b").exists()
    store.delete(["a/d"])
    assert (tmp_path / "lake").exists()
    assert not (tmp_path / "lake" / "a").exists()


def test_wrong_keys_are_told_without_the_secret(request):
    store = s3_store(request, secret_key="wrong-secret")
    with pytest.raises(Unavailable, match="refused") as caught:
        store.put("x", b"x")
    assert "wrong-secret" not in str(caught.value)


def test_a_store_that_is_away_is_told():
    store = S3Store("lake", endpoint_url="http://127.0.0.1:1", access_key="a", secret_key="b")
    with pytest.raises(Unavailable, match="does not answer"):
        list(store.objects())


def test_a_uri_opens_its_store(tmp_path):
    assert isinstance(open_store(tmp_path.as_uri()), FolderStore)
    assert isinstance(open_store("s3a://lake", access_key="a", secret_key="b"), S3Store)
    for wrong in ("lake", "http://x/y", "s3a://lake/folder", "file://host/x", "s3a://"):
        with pytest.raises(ConfigError, match="names no object store"):
            open_store(wrong)


def test_a_folder_with_a_space_is_found(tmp_path):
    folder = tmp_path / "my lake"
    open_store(folder_address(folder)).put("x", b"1")
    assert (folder / "x").read_bytes() == b"1"
