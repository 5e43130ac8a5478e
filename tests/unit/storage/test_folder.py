from __future__ import annotations

import os

import pytest

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.storage.folder import FolderStore


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path):
    """Spark's server runs as a user of its own, and reads what a task of root has published."""
    lake = tmp_path / "lake"
    lake.mkdir()
    os.chown(lake, 12345, 12346)
    store = FolderStore(lake)
    store.put("gold/sales/part-0.parquet", b"x")
    store.copy("gold/sales/part-0.parquet", "gold/sales/month=1/part-0.parquet")
    for path in lake.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346), path


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    lake, outside = tmp_path / "lake", tmp_path / "outside"
    lake.mkdir()
    outside.mkdir()
    (lake / "gold").symlink_to(outside)
    with pytest.raises(ConfigError, match="symbolic link"):
        FolderStore(lake).put("gold/part-0.parquet", b"x")
    assert list(outside.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_told_and_stays(tmp_path):
    store = FolderStore(tmp_path)
    store.put("a", b"x")
    for write in (store.put, store.create):
        with pytest.raises(Unavailable, match="a"):
            write("a/b", b"y")
    assert store.read("a") == b"x"
