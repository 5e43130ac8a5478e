from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from dataharbour.errors import PlatformError
from dataharbour.platform.bootstrap.checkout import Checkout
from dataharbour.platform.bootstrap.shelter import closed_folder, give_shelter
from dataharbour.platform.layout import Checkout as PlatformCheckout
from dataharbour.platform.layout import find_home


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """A checkout in a folder that only its owner may enter, started by root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    checkout = tmp_path / "closed" / "my checkout"
    checkout.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    return checkout


@pytest.fixture
def shelter():
    with tempfile.TemporaryDirectory() as folder:  # short: the state folder holds a socket
        yield Path(folder) / "shelter"


def test_what_others_must_reach_becomes_a_link_to_the_shelter(closed, shelter):
    target = give_shelter(closed / ".venv", shelter=shelter)
    assert target is not None
    assert (closed / ".venv").resolve() == target.resolve()
    assert target.parent.name.startswith("my checkout-")
    for folder in (shelter, target.parent, target):
        assert folder.stat().st_mode & 0o777 == 0o755


def test_a_checkout_made_again_at_its_place_finds_its_folder(closed, shelter):
    first = give_shelter(closed / ".venv", shelter=shelter)
    (closed / ".venv").unlink()
    assert give_shelter(closed / ".venv", shelter=shelter) == first


def test_what_is_there_stays(closed, shelter):
    (closed / ".venv").mkdir()
    assert give_shelter(closed / ".venv", shelter=shelter) is None
    assert not (closed / ".venv").is_symlink()


def test_an_ordinary_user_needs_no_shelter(closed, shelter, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert give_shelter(closed / ".venv", shelter=shelter) is None
    assert not shelter.exists()


def test_an_open_checkout_needs_no_shelter(shelter, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert give_shelter(Path("/usr/lib/.venv"), shelter=shelter) is None


def test_without_any_place_the_closed_folder_and_the_remedies_are_named(closed, tmp_path):
    (tmp_path / "shelter").write_text("a file is in the way")
    with pytest.raises(PlatformError, match="cannot enter") as caught:
        give_shelter(closed / ".venv", shelter=tmp_path / "shelter")
    assert str(closed_folder(closed)) in caught.value.remedy
    assert "/opt" in caught.value.remedy


def test_the_installer_and_the_platform_work_in_the_shelter(closed, shelter):
    venv = give_shelter(closed / ".venv", shelter=shelter)
    home = give_shelter(closed / ".harbour", shelter=shelter)
    assert Checkout(closed).venv == venv.resolve()
    assert find_home(PlatformCheckout(closed), {}).root == home.resolve()
