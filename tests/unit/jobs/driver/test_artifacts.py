from __future__ import annotations

import os
from pathlib import Path

import pytest

from dataharbour.jobs.driver import artifacts

SECRET = 'k3y "of" lake'


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    artifacts.write(tmp_path, "notebook.ipynb", b"{}")
    return tmp_path


def test_what_was_written_is_listed_and_read(attempt):
    (found,) = artifacts.listed(attempt)
    assert (found.name, found.size_bytes) == ("notebook.ipynb", 2)
    assert found.modified_at > 0
    assert artifacts.read(attempt, "notebook.ipynb") == b"{}"


def test_it_is_private_and_replaced_as_a_whole(attempt):
    artifacts.write(attempt, "notebook.ipynb", b"new")
    file = attempt / "artifacts" / "notebook.ipynb"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(file.parent) == ["notebook.ipynb"]


def test_an_attempt_without_artifacts_has_none(tmp_path):
    assert artifacts.listed(tmp_path) == []
    assert artifacts.read(tmp_path, "notebook.ipynb") is None


@pytest.mark.parametrize(
    "name", ["../spec.json", "/etc/passwd", "", ".hidden", "a/b", "a\0b", "x" * 101, "a\r\nb", ".."]
)
def test_what_is_no_name_is_not_there(attempt, name):
    (attempt / "spec.json").write_text("secret")
    assert artifacts.read(attempt, name) is None


def test_links_pipes_folders_and_huge_files_are_not_there(attempt):
    folder = attempt / "artifacts"
    (attempt / "secret").write_text("secret")
    (folder / "link").symlink_to(attempt / "secret")
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    with (folder / "huge").open("wb") as file:
        file.truncate(artifacts.MAX_BYTES + 1)
    assert [each.name for each in artifacts.listed(attempt)] == ["notebook.ipynb"]
    for name in ("link", "pipe", "folder", "huge"):
        assert artifacts.read(attempt, name) is None


def test_a_folder_that_is_a_link_holds_nothing(attempt, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "artifacts").symlink_to(attempt / "artifacts")
    assert artifacts.listed(other) == []
    with pytest.raises(NotADirectoryError, match="artifacts"):
        artifacts.write(other, "notebook.ipynb", b"x")


def test_secrets_are_taken_out_as_json_writes_them(attempt):
    artifacts.write(attempt, "notebook.ipynb", rb'{"text": ["the k3y \"of\" lake\u001b[0m\n"]}')
    artifacts.clean(attempt, [SECRET])
    assert artifacts.read(attempt, "notebook.ipynb") == rb'{"text": ["the ***\u001b[0m\n"]}'


EVERY_BYTE = bytes(range(256))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(EVERY_BYTE, id="no text"),
        pytest.param(b"PK\x03\x04\0\0\x1b[0mASCII alone", id="bytes that are UTF-8 as well"),
        pytest.param(b"carrier,delay\r\nUA,7\r\n", id="lines that end in CR LF"),
    ],
)
def test_of_what_holds_no_secret_no_byte_is_changed(attempt, content):
    artifacts.write(attempt, "file", content)
    artifacts.clean(attempt, [SECRET])
    assert artifacts.read(attempt, "file") == content


def test_a_secret_among_bytes_is_taken_out_and_nothing_else_moves(attempt):
    artifacts.write(attempt, "model.bin", EVERY_BYTE + SECRET.encode() + EVERY_BYTE)
    artifacts.clean(attempt, [SECRET, SECRET[:3]])
    assert artifacts.read(attempt, "model.bin") == EVERY_BYTE + b"*" * len(SECRET) + EVERY_BYTE
