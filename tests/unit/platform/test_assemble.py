from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest

from dataharbour.errors import PlatformError, Unavailable
from dataharbour.platform import assemble, launch, spark, up
from dataharbour.platform.layout import Checkout, Home
from dataharbour.platform.report import Report

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def test_the_vault_of_the_first_start_is_found_without_the_variable(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARBOUR_VAULT_DIR", "disk/vault")  # relative to where `up` was called
    assert assemble.keep_vault(home) == tmp_path / "disk/vault"
    monkeypatch.delenv("HARBOUR_VAULT_DIR")
    monkeypatch.chdir("/")
    assert assemble.keep_vault(home) == tmp_path / "disk/vault"


def test_another_vault_than_that_of_the_first_start_is_refused_with_both_names(home, tmp_path):
    (tmp_path / "other").mkdir()
    assemble.keep_vault(home, {})
    with pytest.raises(PlatformError) as caught:
        assemble.find_vault(home, {"HARBOUR_VAULT_DIR": str(tmp_path / "other")})
    assert str(tmp_path / "other") in caught.value.problem
    assert str(home.data / "vault") in caught.value.problem
    same = {"HARBOUR_VAULT_DIR": str(home.data / "vault")}
    assert assemble.find_vault(home, same) == home.data / "vault"


def test_a_vault_inside_moves_with_the_state_folder(home, tmp_path):
    assemble.keep_vault(home, {})
    moved = Home(home.root.rename(tmp_path / "moved"))
    assert assemble.find_vault(moved, {}) == moved.data / "vault"


def test_a_lake_in_a_folder_moves_with_the_state_folder(home, tmp_path, monkeypatch):
    def offline(*_, **__):
        raise Unavailable("No repository.", "Wait.")

    report = Report(stream=io.StringIO(), live=False)
    monkeypatch.setattr(spark, "ensure_jars", offline)
    assert up._lake(Checkout(ROOT), home, report) == (home.data / "lake").as_uri()
    moved = Home(home.root.rename(tmp_path / "moved"))
    monkeypatch.setattr(spark, "ensure_jars", lambda *_, **__: None)  # it stays where it is
    assert up._lake(Checkout(ROOT), moved, report) == (moved.data / "lake").as_uri()


def test_the_state_of_an_earlier_checkout_is_told(tmp_path, monkeypatch):
    left = tmp_path / "left"
    left.mkdir()
    (left / "data").mkdir()
    monkeypatch.setattr(assemble, "give_shelter", lambda path: left)
    monkeypatch.setattr(assemble, "find_home", lambda checkout, environ: None)
    said = []
    assemble.open_home(Checkout(tmp_path), said.append, {})
    assert str(left) in said[0]
    assert "harbour destroy" in said[0]


def test_a_platform_leaves_alone_the_ports_that_another_will_listen_at_later(home, tmp_path):
    home.run.mkdir(parents=True)
    other = Home(tmp_path / "other")
    other.run.mkdir(parents=True)
    wanted, _ = assemble.choose_ports(other)  # nothing listens at them
    assert assemble.choose_ports(home)[0] == wanted, "a platform that does not run is in no way"
    (home.run / "ports.json").unlink()
    environment = {**os.environ, **launch.marks(other.root, "any")}
    with subprocess.Popen(["sleep", "60"], env=environment) as process:
        chosen, _ = assemble.choose_ports(home)
        process.kill()
    assert not set(wanted.values()) & set(chosen.values())
