"""Recovery points of a folder, in a vault that is a folder."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

import pytest

from dataharbour.backup.sources.folder import back_up_folder
from dataharbour.backup.vault.index import packs_of
from dataharbour.backup.vault.lease import LIVES, acquire
from dataharbour.backup.vault.objects import SealedObjects
from dataharbour.backup.vault.points import numbers
from dataharbour.errors import ConfigError, VaultBusy
from dataharbour.storage.folder import FolderStore
from dataharbour.testing.mortal import Killed, Life, Mortal
from dataharbour.testing.vaults import SOURCE, VaultPlace, fill, random_bytes, seen


def test_a_folder_comes_back_as_it_was(place):
    fill(place)
    counts = place.back_up("1")
    assert seen(place.restore(1)) == seen(place.folder)
    assert (counts.changed, counts.gone, counts.unsteady) == (counts.entries, 0, 0)


def test_each_point_brings_back_its_own_moment(place):
    fill(place)
    moments = []
    for number in range(1, 12):
        place.write(**{f"new-{number}": f"{number}" * number, "a.ipynb": f"[{number}]"})
        if number > 2:
            (place.folder / f"new-{number - 2}").unlink()
        if number == 5:
            shutil.rmtree(place.folder / "b")
        place.back_up(str(number))
        moments.append(seen(place.folder))
    assert [seen(place.restore(number)) for number in range(1, 12)] == moments
    assert place.chain_faults() == []


def test_only_what_has_changed_is_read_and_written(place):
    fill(place)
    place.back_up("1")
    before = {found.key for found in place.store.objects()}
    again = place.back_up("2")
    assert (again.changed, again.gone, again.read_bytes) == (0, 0, 0)
    new = {found.key for found in place.store.objects()} - before
    assert new == {"points/00000002.json", f"intents/2-{SOURCE}.json"}
    place.write(**{"a.ipynb": "[1]"})
    assert place.back_up("3").read_bytes == 3
    new = {found.key for found in place.store.objects()} - before - new
    assert len(new) == 5, "a pack, its index, a layer, the point and its intent"


def test_a_content_is_stored_once(place):
    place.write(a=random_bytes(3_000), b=random_bytes(3_000), c="x" * 10)
    place.back_up("1")
    packs_then = list(place.store.objects("packs/"))
    place.write(d=random_bytes(3_000), e="x" * 10)
    place.back_up("2")
    assert list(place.store.objects("packs/")) == packs_then
    assert len(packs_then) == 2


def test_the_same_size_and_time_do_not_hide_a_change(place):
    place.write(a="one")
    times = (place.folder / "a").stat()
    place.back_up("1")
    (place.folder / "a").write_text("two")
    os.utime(place.folder / "a", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert place.back_up("2").changed == 1
    assert (place.restore(2) / "a").read_text() == "two"


def test_a_folder_that_is_missing_is_no_empty_folder(place):
    place.back_up("1")
    shutil.rmtree(place.folder)
    with pytest.raises(ConfigError, match="no folder"):
        place.back_up("2")
    assert numbers(place.store) == [1]


def test_two_at_once_are_refused_and_the_dead_are_not_waited_for(place, monkeypatch):
    acquire(place.store, holder="another", purpose="a recovery point")
    with pytest.raises(VaultBusy, match="in use for a recovery point until"):
        place.back_up("1")
    later = place.store.clock() + LIVES
    monkeypatch.setattr(FolderStore, "clock", lambda _: later)
    place.back_up("1")
    assert numbers(place.store) == [1]


def test_who_slept_longer_than_the_lease_lives_commits_nothing(place, monkeypatch):
    place.write(a="x")
    slow = place.writer()
    point = slow.begin("1")
    with slow.session(point, SOURCE) as session:
        part = back_up_folder(session, place.folder)
    later = place.store.clock() + LIVES
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "clock", lambda _: later)
        place.back_up("2")
        place.writer().begin("3")
    with pytest.raises(VaultBusy, match=r"in use for a recovery point"):
        slow.commit(point, [part], {})
    assert [place.point(number).id for number in numbers(place.store)] == ["2"]
    assert seen(place.restore(1)) == seen(place.folder)


@pytest.mark.parametrize("afterwards", [False, True], ids=["before", "after"])
def test_killed_at_any_step_it_goes_on_and_loses_nothing(place, afterwards, monkeypatch):
    """The point before restores, the next one finishes, and what was stored is not stored again."""
    fill(place)
    place.back_up("first")
    first = seen(place.folder)
    clean = place.root / "clean"
    shutil.copytree(place.root / "vault", clean)
    shutil.copytree(place.root / "cache", place.root / "clean-cache")
    place.write(**{"a.ipynb": "[7]", "large": random_bytes(21_000, 7), "n": random_bytes(5_000, 8)})
    (place.folder / "same").unlink()
    real_clock = FolderStore.clock
    step, survived = 0, False
    while not survived:
        for name in ("vault", "cache"):
            shutil.rmtree(place.root / name)
        shutil.copytree(clean, place.root / "vault")
        shutil.copytree(place.root / "clean-cache", place.root / "cache")
        with suppress(Killed):
            place.back_up("second", store=Mortal(place.store, Life(step, afterwards=afterwards)))
            survived = True
        assert numbers(place.store) in ([1], [1, 2]), step
        with monkeypatch.context() as patch:
            patch.setattr(FolderStore, "clock", lambda self: real_clock(self) + LIVES)
            place.back_up("second" if step % 2 else "third")
        last = numbers(place.store)[-1]
        if step % 9 == 0 or survived:
            assert seen(place.restore(last)) == seen(place.folder), step
            assert seen(place.restore(1)) == first, step
        assert place.chain_faults() == []
        contents = contents_named(place, last)
        assert len(contents) == len(set(contents)), step
        step += 1
    assert step > 30


def contents_named(place: VaultPlace, number: int) -> list[str]:
    """All contents that the index of a point names, as often as it does."""
    lists = SealedObjects(place.store, (place.keys.index_identity,))
    return [
        digest
        for each in place.point(number).document["indexes"]
        for pack in packs_of(lists.read(each["name"]))
        for digest in pack.contents
    ]
