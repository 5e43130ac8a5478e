from __future__ import annotations

import pytest

from dataharbour.storage.marks import is_data


@pytest.mark.parametrize(
    "name",
    ["part-0.parquet", "month=1/part-0.parquet", "_hour=1/part-0.parquet", "a$folder$.parquet"],
)
def test_files_with_rows(name):
    assert is_data(name)


@pytest.mark.parametrize(
    "name",
    [
        "_SUCCESS",
        "_published.json",
        "_temporary/0/part-0.parquet",
        ".part-0.parquet.crc",
        "month=1/.part-0.parquet.crc",
        "",
        "month=1/",
        "month=1_$folder$",
        "_hour=1_$folder$",
    ],
)
def test_what_only_lies_beside_them(name):
    assert not is_data(name)
