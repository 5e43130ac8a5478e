from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import pytest

from dataharbour.platform import accounts, preflight
from dataharbour.platform.bootstrap import checks
from dataharbour.platform.layout import Checkout, Home

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def seen(home, *, fresh=True, checkout=ROOT):
    return {check.id: check for check in preflight.run(Checkout(checkout), home, fresh=fresh)}


def test_it_looks_and_changes_nothing(home, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", _nobody)
    monkeypatch.setattr(accounts, "_make", lambda name: pytest.fail(f"{name} was made"))
    seen(home)
    assert not home.root.exists()


def test_a_full_disk_is_told_with_both_numbers(home, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=3_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    check = seen(home)["disk"]
    assert not check.ok
    assert "3.0 GB are free" in check.detail
    assert "10 GB are needed" in check.detail
    assert seen(home, fresh=False)["disk"].ok  # what holds its data already needs little more


def test_a_state_folder_that_cannot_be_written_is_told(monkeypatch, home):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "HARBOUR_HOME" in seen(home)["state-folder"].remedy


def test_little_memory_is_a_note(home, monkeypatch):
    monkeypatch.setattr(checks, "memory_bytes", lambda: 1_000_000_000)
    check = seen(home)["memory"]
    assert (check.ok, check.needed) == (False, False)


def test_without_useradd_the_missing_accounts_are_named_with_the_remedy(home, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(pwd, "getpwnam", _nobody)
    check = seen(home)["accounts"]
    assert not check.ok
    assert accounts.POSTGRES in check.detail
    assert f"useradd --system --user-group {accounts.SPARK}" in check.remedy


def test_a_closed_folder_on_the_way_is_named_for_root(home, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    home.root.mkdir()
    tmp_path.chmod(0o700)
    check = seen(home)["reachable"]
    assert not check.ok
    assert "chmod o+x" in check.remedy


def test_an_ordinary_user_is_told_what_submitters_may_read(home, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    check = seen(home)["spark-isolation"]
    assert (check.ok, check.needed) == (False, False)


def test_a_broken_job_file_is_a_note_with_its_name(home, tmp_path):
    shutil.copytree(ROOT / "include", tmp_path / "include")
    (tmp_path / "include/jobs/broken.yaml").write_text("application: [")
    check = seen(home, checkout=tmp_path)["job:broken"]
    assert (check.ok, check.needed) == (False, False)


def _nobody(name):
    raise KeyError(name)
