from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataharbour.platform import accounts
from dataharbour.postgres.cluster import Account

STRANGER = Account(uid=54321, gid=54321)


@pytest.fixture
def opened() -> Iterator[Path]:
    """A folder that everybody may enter; those of pytest are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(os.path.realpath(folder))


def test_a_folder_that_others_may_not_enter_is_named(opened):
    closed = opened / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    assert accounts.unreachable(STRANGER, opened) is None
    assert accounts.unreachable(STRANGER, closed / "inner") == closed
    assert accounts.unreachable(Account(os.getuid(), os.getgid()), closed / "inner") is None


def test_open_folders_are_reachable():
    assert accounts.unreachable(STRANGER, Path("/usr/bin")) is None


def test_links_are_followed_to_where_they_lead(opened):
    closed = opened / "closed"
    closed.mkdir()
    closed.chmod(0o700)
    link = opened / "link"
    link.symlink_to(closed)
    assert accounts.unreachable(STRANGER, link) == closed


def test_without_another_account_python_is_ours():
    assert accounts.python_for(None) == {"PYSPARK_PYTHON": sys.executable}


def test_an_interpreter_out_of_reach_is_replaced_by_the_systems(monkeypatch):
    closed = [Path(sys.executable)]
    monkeypatch.setattr(accounts, "unreachable", lambda _, path: path if path in closed else None)
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    if not system.exists():
        pytest.skip(f"no {system} here")
    found = accounts.python_for(STRANGER)
    assert found["PYSPARK_PYTHON"] == str(system)
    assert "site-packages" in found["PYTHONPATH"]


def test_jupyterlab_has_an_account_only_where_it_is_chosen(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(accounts, "_useradd", lambda: None)
    monkeypatch.setattr(accounts, "_lookup", lambda name: None)
    assert accounts.planned().notebooks is None
    assert accounts.planned(notebooks=True).notebooks is not None
    assert accounts.unmakeable() == [accounts.POSTGRES, accounts.SPARK]
    assert accounts.unmakeable(notebooks=True)[-1] == accounts.NOTEBOOKS


def test_where_no_interpreter_can_be_reached_there_is_none(monkeypatch):
    monkeypatch.setattr(accounts, "unreachable", lambda _, path: path)
    assert accounts.interpreter_for(STRANGER) is None
    assert accounts.python_for(STRANGER) == {"PYSPARK_PYTHON": sys.executable}
