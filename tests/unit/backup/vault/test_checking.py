"""Whatever somebody does to an object of a vault, a check names it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dataharbour.errors import DataHarbourError
from dataharbour.testing.vaults import VaultPlace, fill, random_bytes


@pytest.fixture
def two_points(place) -> VaultPlace:
    fill(place)
    place.back_up("1")
    place.write(**{"a.ipynb": "[1]", "new": random_bytes(2_500, 9)})
    (place.folder / "same").unlink()
    place.back_up("2")
    return place


def objects(place: VaultPlace) -> list[Path]:
    """What points need: all but the lease and the intents."""
    found = sorted(path for path in (place.root / "vault").rglob("*") if path.is_file())
    kinds = [path.relative_to(place.root / "vault").parts[0] for path in found]
    return [
        path
        for path, kind in zip(found, kinds, strict=True)
        if kind not in ("lease.json", "intents") and not kind.startswith(".")
    ]


def all_faults(place: VaultPlace, *, deep: bool) -> list[str]:
    """The objects that are named as faulty, of whatever point."""
    try:
        found = [f"{problem}" for problem in place.chain_faults()]
        for number in (1, 2):
            try:
                found += [f"{f.object}: {f.problem}" for f in place.faults(number, deep=deep)]
            except DataHarbourError as error:
                found.append(error.problem)
    except DataHarbourError as error:  # the vault itself cannot be opened
        found = [error.problem]
    return found


def test_a_whole_vault_has_no_faults(two_points):
    assert all_faults(two_points, deep=True) == []
    assert len(objects(two_points)) > 12


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[random.Random(str(path)).randrange(len(data))] ^= 1 << 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize("harm", [flip, cut, empty, lengthen, Path.unlink])
def test_whatever_happens_to_an_object_is_named(two_points, harm: Callable[[Path], object]):
    for path in objects(two_points):
        if path.suffix == ".json" and harm in (lengthen, flip):
            continue  # a space more, or a letter of another case: what it says may be the same
        kept = path.read_bytes()
        harm(path)
        name = path.relative_to(two_points.root / "vault").as_posix()
        found = all_faults(two_points, deep=True)
        gone_point = name.startswith("points/") and harm is Path.unlink
        assert found or gone_point, name
        if name.startswith(("packs/", "lists/")):
            assert any(name in each for each in found), (name, found)
        path.write_bytes(kept)
    assert all_faults(two_points, deep=True) == []


@pytest.mark.parametrize("harm", [cut, empty, lengthen, Path.unlink])
def test_what_changes_a_size_shows_without_reading_packs(two_points, harm):
    for path in objects(two_points):
        name = path.relative_to(two_points.root / "vault").as_posix()
        if not name.startswith("packs/"):
            continue
        kept = path.read_bytes()
        harm(path)
        assert any(name in each for each in all_faults(two_points, deep=False)), name
        path.write_bytes(kept)


def test_every_byte_of_what_is_signed_counts(two_points):
    """A document that is changed is refused, or says exactly what it said."""
    for path in objects(two_points):
        if path.suffix != ".json":
            continue
        kept = path.read_bytes()
        for place in range(0, len(kept), 7):
            changed = bytearray(kept)
            changed[place] ^= 1
            path.write_bytes(changed)
            if not all_faults(two_points, deep=False):
                assert two_points.point(2).id == "2"
                assert [f.problem for f in two_points.faults(1, deep=True)] == []
        path.write_bytes(kept)


def test_swapped_objects_are_both_named(two_points):
    packs = [path for path in objects(two_points) if path.parent.parent.name == "packs"]
    first, second = packs[0], packs[1]
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    found = all_faults(two_points, deep=True)
    for path in (first, second):
        assert any(path.name in each for each in found)


def test_a_point_in_the_place_of_another_is_refused(two_points):
    points = two_points.root / "vault/points"
    shutil.copy(points / "00000001.json", points / "00000002.json")
    assert any("number 1" in each for each in all_faults(two_points, deep=False))


def test_a_chain_that_was_written_anew_is_seen(two_points, tmp_path):
    """Somebody with the writer's keys takes a point away and puts another in its place."""
    points = two_points.root / "vault/points"
    two_points.back_up("3")
    third = (points / "00000003.json").read_bytes()
    for number in (2, 3):
        (points / f"0000000{number}.json").unlink()
    two_points.back_up("another 2")
    (points / "00000003.json").write_bytes(third)
    assert any("follows another" in each for each in two_points.chain_faults())


def test_each_pack_is_read_in_one_of_seven_days(two_points):
    from dataharbour.backup.vault.checking import read_packs
    from dataharbour.backup.vault.keys import open_as_reader
    from dataharbour.testing.vaults import OPERATOR

    packs = [path for path in objects(two_points) if path.parent.parent.name == "packs"]
    for path in packs:
        path.write_bytes(b"x")
    keys, point = open_as_reader(two_points.store, OPERATOR), two_points.point(2)
    found = [
        fault.object
        for day in range(7)
        for fault in read_packs(two_points.store, keys, point, part=day, of=7)
    ]
    assert sorted(found) == sorted(f"packs/{p.parent.name}/{p.name}" for p in packs)
