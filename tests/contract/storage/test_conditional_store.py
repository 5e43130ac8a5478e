"""A place where of several writers one wins, and where what is retained stays."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dataharbour.errors import Conflict, DataHarbourError, NotFound, Stale, Unavailable
from dataharbour.storage.folder import FolderStore
from dataharbour.storage.s3 import S3Store
from dataharbour.storage.store import ConditionalStore

LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path: Path) -> ConditionalStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "vault")
    return of(request.getfixturevalue("vault_bucket"), "prune")


def of(bucket, identity: str, **other) -> S3Store:
    access_key, secret_key = bucket.identities[identity]
    values = {"access_key": access_key, "secret_key": secret_key, **other}
    return S3Store(bucket.bucket, endpoint_url=bucket.endpoint_url, **values)


@pytest.fixture
def key() -> str:
    """A key of its own: the bucket is shared by the tests."""
    return f"t-{secrets.token_hex(4)}/x"


def test_what_is_there_is_not_created_again(store, key):
    assert store.create(key, b"one")
    assert not store.create(key, b"two")
    assert store.read(key) == b"one"


def test_of_those_that_create_at_once_one_wins(store, key):
    names = [str(number).encode() for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        won = [n for n, is_mine in zip(names, pool.map(lambda n: store.create(key, n), names),
                                       strict=True) if is_mine]  # fmt: skip
    assert won == [store.read(key)]


def test_it_is_changed_only_as_it_was_read(store, key):
    store.create(key, b"one")
    tag = store.read_tagged(key).tag
    store.replace(key, b"two", tag)
    with pytest.raises(Stale):
        store.replace(key, b"three", tag)
    assert store.read_tagged(key).data == b"two"


def test_of_those_that_change_it_at_once_one_wins(store, key):
    store.create(key, b"start")
    tag = store.read_tagged(key).tag

    def change(name: bytes) -> bool:
        try:
            store.replace(key, name, tag)
        except Stale:
            return False
        return True

    names = [str(number).encode() for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        won = [n for n, is_mine in zip(names, pool.map(change, names), strict=True) if is_mine]
    assert won == [store.read(key)]


def test_what_is_gone_cannot_be_changed(store, key):
    store.create(key, b"one")
    tag = store.read_tagged(key).tag
    store.purge([key])
    with pytest.raises(Stale):
        store.replace(key, b"two", tag)
    with pytest.raises(NotFound):
        store.read_tagged(key)


def test_an_object_is_found_without_being_read(store, key):
    store.create(key, b"12345")
    found = store.find(key)
    assert (found.key, found.size_bytes) == (key, 5)
    assert abs(found.modified_at - store.clock()) < timedelta(seconds=30)
    with pytest.raises(NotFound, match="no-such"):
        store.find("no-such")
    with pytest.raises(NotFound, match="no-such"):
        store.retain("no-such", LATER)
    with pytest.raises(NotFound, match="no-such"):
        store.retained_until("no-such")


def test_what_is_purged_can_be_created_again(store, key):
    store.create(key, b"one")
    store.put(key, b"two")
    store.create(f"{key}y", b"another")  # whose key begins with the first one's
    store.purge([key, "no-such"])
    assert [each.key for each in store.objects(key)] == [f"{key}y"]
    assert store.create(key, b"three")
    assert store.read(key) == b"three"


def test_a_clock_tells_its_time_in_utc(store):
    told = store.clock()
    assert told.tzinfo is UTC
    assert abs(told - datetime.now(UTC)) < timedelta(seconds=30)


def test_a_folder_says_that_it_retains_nothing(tmp_path):
    store = FolderStore(tmp_path)
    store.create("x", b"one", retain_until=LATER)
    store.retain("x", LATER)
    assert store.retained_until("x") is None


def test_what_is_retained_stays_whoever_deletes_it(vault_bucket, key):
    writer, pruner = of(vault_bucket, "backup"), of(vault_bucket, "prune")
    writer.create(key, b"one", retain_until=LATER)
    assert writer.retained_until(key) == LATER
    with pytest.raises(Conflict, match="retained until"):
        pruner.purge([key])
    assert pruner.read(key) == b"one"


def test_retention_grows_and_never_shrinks(vault_bucket, key):
    writer = of(vault_bucket, "backup")
    writer.create(key, b"one")
    assert writer.retained_until(key) is None
    for until, then in ((LATER, LATER), (LATER + timedelta(1), LATER + timedelta(1)),
                        (LATER, LATER + timedelta(1))):  # fmt: skip
        writer.retain(key, until)
        assert writer.retained_until(key) == then


def test_who_writes_cannot_delete(vault_bucket, key):
    writer = of(vault_bucket, "backup")
    writer.create(key, b"one")
    with pytest.raises(Unavailable, match="refused"):
        writer.purge([key])
    with pytest.raises(DataHarbourError):
        writer.delete([key])
    assert writer.read(key) == b"one"


def test_a_bucket_without_object_lock_says_so(lake_bucket, key):
    store = of(replace(lake_bucket, bucket="logs"), "admin")
    store.create(key, b"one")
    store.retain(key, LATER)
    assert store.retained_until(key) is None
    with pytest.raises(Unavailable):
        store.create(f"{key}y", b"one", retain_until=LATER)


def test_an_answer_that_was_lost_changes_nothing_twice(store, key):
    """The store had changed it, and is asked again."""
    store.create(key, b"one")
    tag = store.read_tagged(key).tag
    store.replace(key, b"two", tag)
    if isinstance(store, S3Store):  # as botocore repeats a request
        store.replace(key, b"two", tag)
    assert store.read(key) == b"two"
