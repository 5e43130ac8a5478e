from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from dataharbour.backup.vault.lease import LIVES, HeldLease, acquire, release, release_of, renew
from dataharbour.errors import VaultBusy
from dataharbour.storage.folder import FolderStore


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore(tmp_path)


@pytest.fixture
def at(store, monkeypatch):
    """Set the vault's clock, from when the test began."""
    began = store.clock()

    def move(ahead: timedelta) -> None:
        monkeypatch.setattr(FolderStore, "clock", lambda _: began + ahead)

    move(timedelta(0))
    return move


def test_one_holder_at_a_time_and_every_epoch_once(store, at):
    first = acquire(store, holder="a", purpose="a recovery point")
    with pytest.raises(VaultBusy, match="in use for a recovery point until"):
        acquire(store, holder="b", purpose="removal")
    release(store, first)
    second = acquire(store, holder="b", purpose="removal")
    assert second.epoch == first.epoch + 1


def test_of_those_that_come_at_once_one_gets_it(store):
    def come(name: str) -> bool:
        try:
            acquire(store, holder=name, purpose="x")
        except VaultBusy:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(come, map(str, range(16)))) == 1


def test_whoever_was_stopped_for_too_long_has_lost_it(store, at):
    first = acquire(store, holder="a", purpose="x")
    at(LIVES - timedelta(seconds=1))
    first = renew(store, first)
    at(2 * LIVES - timedelta(seconds=1))
    second = acquire(store, holder="b", purpose="x")
    with pytest.raises(VaultBusy, match="was lost"):
        renew(store, first)
    release(store, first)  # which is not its own any more
    renew(store, second)


def test_sessions_of_one_point_share_it(store):
    with (
        HeldLease(store, holder="point", keep=True) as one,
        HeldLease(store, holder="point", keep=True) as other,
    ):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: (one, other)[n % 2].confirm(), range(40)))
        assert one.epoch == other.epoch
    with pytest.raises(VaultBusy):
        acquire(store, holder="another", purpose="x")


def test_a_session_that_failed_leaves_it_to_the_others_of_its_point(store):
    with pytest.raises(ValueError, match="x"), HeldLease(store, holder="point", keep=True):
        raise ValueError("x")
    with pytest.raises(VaultBusy):
        acquire(store, holder="another", purpose="x")
    release_of(store, "nobody")
    release_of(store, "point")
    acquire(store, holder="another", purpose="x")
