from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dataharbour.platform.bootstrap.checkout import Checkout, State


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    (tmp_path / "providers" / "dataharbour").mkdir(parents=True)
    (tmp_path / "requirements.txt").write_text("one==1.0\n")
    (tmp_path / "providers" / "dataharbour" / "pyproject.toml").write_text("[project]\n")
    return Checkout(tmp_path)


@pytest.fixture
def installed(checkout: Checkout) -> Checkout:
    checkout.notes.mkdir(parents=True)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (checkout.venv / "lib" / version).mkdir(parents=True)
    (checkout.venv / "bin").mkdir()
    checkout.python.symlink_to(sys.executable)
    checkout.record()
    return checkout


def test_nothing_and_an_empty_folder_are_missing(checkout):
    assert checkout.state() is State.MISSING
    checkout.venv.mkdir()
    assert checkout.state() is State.MISSING


def test_an_environment_without_our_folder_is_foreign(checkout):
    (checkout.venv / "bin").mkdir(parents=True)
    assert checkout.state() is State.FOREIGN


def test_what_was_recorded_is_complete(installed):
    assert installed.state() is State.COMPLETE


@pytest.mark.parametrize("name", ["requirements.txt", "providers/dataharbour/pyproject.toml"])
def test_a_change_of_either_file_makes_it_outdated(name, installed):
    path = installed.root / name
    path.write_text(path.read_text() + "# more\n")
    assert installed.state() is State.OUTDATED


def test_another_python_makes_another_environment(installed):
    installed.requirements.write_text("one==2.0\n")
    (installed.venv / "lib").rename(installed.venv / "lib-of-another")
    assert installed.state() is State.UNFINISHED


@pytest.mark.parametrize("name", ["checkout", "pyproject.toml", "requirements.txt"])
def test_without_any_of_the_notes_it_is_unfinished(name, installed):
    (installed.notes / name).unlink()
    assert installed.state() is State.UNFINISHED


def test_without_its_python_it_is_unfinished(installed):
    installed.python.unlink()
    installed.python.symlink_to("/no/such/python")
    assert installed.state() is State.UNFINISHED


def test_at_another_place_it_is_unfinished(installed, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("other") / "place"
    installed.root.rename(elsewhere)
    assert Checkout(elsewhere).state() is State.UNFINISHED


def test_a_withdrawn_note_can_be_put_back(installed):
    note = installed.withdraw()
    assert installed.state() is State.UNFINISHED
    installed.restore(note)
    assert installed.state() is State.COMPLETE


def test_cleared_nothing_is_left(installed):
    installed.clear()
    assert not installed.venv.exists()


def test_cleared_the_named_downloads_stay(installed):
    (installed.notes / "cache" / "deep").mkdir(parents=True)
    installed.clear(keep=("uv", "cache"))
    left = {path.relative_to(installed.venv).as_posix() for path in installed.venv.rglob("*")}
    assert left == {"harbour", "harbour/cache", "harbour/cache/deep"}


def test_an_environment_on_another_disk_is_emptied_and_stays_linked(installed, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk") / "venv"
    installed.venv.rename(disk)
    (installed.root / ".venv").symlink_to(disk)
    installed.clear()
    assert (installed.root / ".venv").is_symlink()
    assert list(disk.iterdir()) == []


@pytest.fixture
def with_notebooks(installed: Checkout) -> Checkout:
    """The same with the list of JupyterLab in the checkout, and wanted."""
    installed.notebooks.write_text("jupyterlab==4.0\n")
    return replace(installed, wants_notebooks=True)


def test_jupyterlab_is_installed_only_where_it_is_wanted(installed, with_notebooks):
    assert installed.state() is State.COMPLETE
    assert installed.locks == (installed.requirements,)
    assert with_notebooks.state() is State.OUTDATED  # and so what is there stays
    assert with_notebooks.locks == (installed.requirements, installed.notebooks)


def test_jupyterlab_once_installed_stays_and_follows_its_list(installed, with_notebooks):
    with_notebooks.record()
    assert installed.has_notebooks
    assert installed.state() is with_notebooks.state() is State.COMPLETE
    installed.notebooks.write_text("jupyterlab==4.1\n")
    assert installed.state() is State.OUTDATED
    assert installed.locks == (installed.requirements, installed.notebooks)


def test_a_checkout_that_knows_no_jupyterlab_can_be_gone_back_to(installed, with_notebooks):
    with_notebooks.record()
    installed.notebooks.unlink()
    assert installed.state() is State.COMPLETE
