"""The page of shell in docs/reference/vault-format.md restores, with common programs alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dataharbour.backup.vault.age import new_identity
from dataharbour.testing.vaults import OPERATOR, SOURCE, VaultPlace, fill, random_bytes

PAGE = Path(__file__).resolve().parents[4] / "docs/reference/vault-format.md"
(SHELL,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S)
PROGRAMS = ("age", "jq", "zstd", "openssl", "tar")
MISSING = [program for program in PROGRAMS if shutil.which(program, path=os.defpath) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def by_hand(place: VaultPlace, number: int, then: str, *, person: str = OPERATOR):
    """Run the page, and then a line more, with nothing of ours on the path."""
    work, target = place.root / "work", place.root / "target"
    for folder in (work, target):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    (place.root / "person").write_text(person)
    environment = {
        "PATH": os.defpath, "LC_ALL": "C.UTF-8", "WORK": str(work), "TARGET": str(target),
        "PERSON": str(place.root / "person"), "POINT": f"points/{number:08}.json",
    }  # fmt: skip
    done = subprocess.run(
        ["sh", "-eu", "-c", f"{SHELL}\n{then}"],
        cwd=place.root / "vault", env=environment, capture_output=True, text=True,
    )  # fmt: skip
    return done, target


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def two_points(place) -> VaultPlace:
    fill(place)
    next(path for path in place.folder.iterdir() if b"\xff" in os.fsencode(path)).unlink()
    place.back_up("1")
    place.write(**{"a.ipynb": "[1]", "new": random_bytes(9_000, 9)})
    (place.folder / "same").unlink()
    place.back_up("2")
    return place


def test_it_brings_every_file_back(two_points):
    done, target = by_hand(two_points, 2, f"restore {SOURCE}")
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
    assert files(target) == files(two_points.folder)


def test_an_older_point_has_its_own_files(two_points):
    done, target = by_hand(two_points, 1, f"restore {SOURCE}")
    assert done.returncode == 0, done.stderr
    assert {"same", "a.ipynb"} <= files(target).keys()
    assert files(target)["a.ipynb"] == b"{}"
    assert "new" not in files(target)


def test_a_point_that_somebody_changed_is_refused(two_points):
    point = two_points.root / "vault/points/00000002.json"
    point.write_text(point.read_text().replace('"stored_bytes": ', '"stored_bytes": 1'))
    done, target = by_hand(two_points, 2, f"restore {SOURCE}")
    assert done.returncode != 0
    assert files(target) == {}


def test_a_damaged_pack_is_named(two_points):
    pack = next(path for path in (two_points.root / "vault/packs").rglob("*") if path.is_file())
    pack.write_bytes(pack.read_bytes()[:-1])
    done, _ = by_hand(two_points, 2, f"restore {SOURCE}")
    assert f"{pack.name} is damaged" in done.stderr


def test_somebody_else_opens_nothing(two_points):
    done, target = by_hand(two_points, 2, f"restore {SOURCE}", person=new_identity()[0])
    assert done.returncode != 0
    assert files(target) == {}
