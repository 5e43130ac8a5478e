from __future__ import annotations

from pathlib import Path

import pytest

from dataharbour.storage.address import Address, folder_address, split_address


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3a://lake", ("s3a", "lake", "")),
        ("s3a://lake/gold/a b", ("s3a", "lake", "/gold/a b")),
        ("file:///my lake/100%25#1?", ("file", "", "/my lake/100%25#1?")),
        ("/plain path", ("", "", "/plain path")),
    ],
)
def test_an_address_is_taken_as_it_is_written(text, parts):
    assert split_address(text) == Address(*parts)


def test_a_folders_address_leads_back_to_it():
    folder = Path("/a b/50% #1")
    assert Path(split_address(folder_address(folder)).path) == folder
