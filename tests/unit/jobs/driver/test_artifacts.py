from __future__ import annotations

import os
from pathlib import Path

import pytest

from dataharbour.jobs.driver import artifacts


@pytest.fixture
def place(tmp_path: Path) -> Path:
    artifacts.write(tmp_path / "artifacts", "notebook.ipynb", b"{}")
    return tmp_path / "artifacts"


def test_what_was_written_is_listed_and_read(place):
    (found,) = artifacts.listed(place)
    assert (found.name, found.size_bytes) == ("notebook.ipynb", 2)
    assert found.modified_at > 0
    assert artifacts.read(place, "notebook.ipynb") == b"{}"


def test_it_is_private_and_replaced_as_a_whole(place):
    artifacts.write(place, "notebook.ipynb", b"new")
    file = place / "notebook.ipynb"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(file.parent) == ["notebook.ipynb"]


def test_a_folder_that_is_not_there_holds_none(tmp_path):
    assert artifacts.listed(tmp_path / "artifacts") == []
    assert artifacts.others(tmp_path / "artifacts") == []
    assert artifacts.look(tmp_path / "artifacts", "notebook.ipynb") is None
    assert artifacts.read(tmp_path / "artifacts", "notebook.ipynb") is None


def test_one_that_was_replaced_looks_like_another(place):
    before = artifacts.look(place, "notebook.ipynb")
    assert artifacts.look(place, "notebook.ipynb") == before
    artifacts.write(place, "notebook.ipynb", b"[]")
    assert artifacts.look(place, "notebook.ipynb") != before


def test_one_that_was_removed_is_not_there(place):
    for _ in range(2):
        artifacts.remove(place, "notebook.ipynb")
        assert artifacts.listed(place) == []


@pytest.mark.parametrize(
    "name", ["../spec.json", "/etc/passwd", "", ".hidden", "a/b", "a\0b", "x" * 101, "a\r\nb", ".."]
)
def test_what_is_no_name_is_not_there(place, name):
    (place.parent / "spec.json").write_text("secret")
    assert artifacts.read(place, name) is None


def test_links_pipes_folders_and_huge_files_are_not_there(place):
    (place.parent / "secret").write_text("secret")
    (place / "link").symlink_to(place.parent / "secret")
    os.mkfifo(place / "pipe")
    (place / "folder").mkdir()
    with (place / "huge").open("wb") as file:
        file.truncate(artifacts.MAX_BYTES + 1)
    assert [each.name for each in artifacts.listed(place)] == ["notebook.ipynb"]
    for name in ("link", "pipe", "folder", "huge"):
        assert artifacts.read(place, name) is None
    assert artifacts.others(place) == ["folder", "huge", "link", "pipe"]


def test_a_folder_that_is_a_link_holds_nothing(place, tmp_path):
    other = tmp_path / "other"
    other.symlink_to(place)
    assert artifacts.listed(other) == []
    with pytest.raises(NotADirectoryError, match="other"):
        artifacts.write(other, "notebook.ipynb", b"x")
    artifacts.remove(other, "notebook.ipynb")
    assert artifacts.listed(place) != []
