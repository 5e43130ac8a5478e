from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import pytest

from dataharbour.platform import accounts, assemble, ports, preflight
from dataharbour.platform.bootstrap import checks
from dataharbour.platform.layout import Checkout, Home

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def seen(home, *, fresh=True, checkout=ROOT):
    return {check.id: check for check in preflight.run(Checkout(checkout), home, fresh=fresh)}


def further(home):
    return {check.id: check for check in preflight.look_further(Checkout(ROOT), home)}


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
    usage = usage._replace(free=2**31)  # the stores take no writes below that
    assert not seen(home, fresh=False)["disk"].ok


def test_a_vault_elsewhere_needs_space_and_the_right_to_write_too(home, tmp_path, monkeypatch):
    vault = tmp_path / "disk" / "vault"
    assert "vault-disk" not in seen(home)
    monkeypatch.setenv("HARBOUR_VAULT_DIR", str(vault))
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(
        shutil, "disk_usage", lambda p: usage._replace(free=2**31) if p == tmp_path else usage
    )
    check = seen(home)["vault-disk"]
    assert not check.ok
    assert str(tmp_path) in check.detail
    monkeypatch.setattr(os, "access", lambda folder, _: folder != tmp_path)
    assert "HARBOUR_VAULT_DIR" in seen(home)["vault"].remedy


def test_another_vault_than_before_is_told_and_does_not_stop_the_other_checks(home, monkeypatch):
    assemble.keep_vault(home, {})
    monkeypatch.setenv("HARBOUR_VAULT_DIR", "/somewhere/else")
    check = seen(home)["vault"]
    assert (check.ok, check.needed) == (False, True)
    assert "/somewhere/else" in check.detail


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


def test_an_ordinary_user_is_told_whom_that_trusts(home, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "may do what you may" in seen(home)["isolation"].detail


def test_anothers_platform_is_refused_with_the_owners_name(home, monkeypatch):
    home.root.mkdir()
    assert seen(home)["owner"].ok
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    check = seen(home)["owner"]
    assert not check.ok
    assert check.needed
    assert pwd.getpwuid(os.getuid()).pw_name in check.remedy


def test_a_taken_port_is_told(home, monkeypatch):
    monkeypatch.setattr(ports, "is_free", lambda port: port != 8080)
    assert "Port 8080 is taken; api gets another." in further(home)["ports"].detail


def test_where_the_jars_cannot_be_had_the_lake_will_be_a_folder(home, tmp_path, monkeypatch):
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2/settings.xml").write_text(
        "<settings><mirrors><mirror><id>m</id><mirrorOf>*</mirrorOf>"
        "<url>http://127.0.0.1:9/maven2</url></mirror></mirrors></settings>"
    )
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    check = further(home)["jars"]
    assert not check.ok
    assert not check.needed
    assert "http://127.0.0.1:9/maven2 cannot be reached" in check.detail
    assert "the lake is a folder" in check.remedy


def test_a_broken_job_file_is_a_note_with_its_name(home, tmp_path):
    shutil.copytree(ROOT / "include", tmp_path / "include")
    (tmp_path / "include/jobs/broken.yaml").write_text("application: [")
    check = seen(home, checkout=tmp_path)["job:broken"]
    assert (check.ok, check.needed) == (False, False)


def test_a_job_without_its_application_is_a_note_with_its_name(home, tmp_path):
    shutil.copytree(ROOT / "include", tmp_path / "include")
    (tmp_path / "spark_jobs").mkdir()
    check = seen(home, checkout=tmp_path)["job:flights_delays"]
    assert (check.ok, check.needed) == (False, False)
    assert "flights_delays.py" in check.detail


def test_a_job_without_its_expectations_is_a_note_with_its_name(home, tmp_path):
    shutil.copytree(ROOT / "include", tmp_path / "include")
    shutil.copytree(ROOT / "spark_jobs", tmp_path / "spark_jobs")
    assert "job:flights_delays" not in seen(home, checkout=tmp_path)
    (tmp_path / "include/expectations/flights.yaml").unlink()
    assert "no expectations suite" in seen(home, checkout=tmp_path)["job:flights_delays"].detail


def test_an_application_may_lie_in_the_state_folder(home, tmp_path):
    shutil.copytree(ROOT / "include", tmp_path / "include")
    home.applications.mkdir(parents=True)
    shutil.copy2(ROOT / "spark_jobs" / "flights_delays.py", home.applications)
    assert "job:flights_delays" not in seen(home, checkout=tmp_path)


def _nobody(name):
    raise KeyError(name)


def test_a_cluster_is_told_with_what_it_takes(home, monkeypatch):
    assert "spark-cluster" not in further(home)
    assemble.keep_cluster(home, True)
    monkeypatch.setattr(checks, "memory_bytes", lambda: 1_200_000_000)
    check = further(home)["spark-cluster"]
    assert not check.ok
    assert not check.needed
    assert "1.2 GB of memory are available" in check.detail
    assert "--no-cluster" in check.remedy
    monkeypatch.setattr(checks, "memory_bytes", lambda: 8_000_000_000)
    assert further(home)["spark-cluster"].ok
