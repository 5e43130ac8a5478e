from __future__ import annotations

from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyarrow import parquet

from dataharbour.cli.tour import gold_rows
from dataharbour.platform.credentials import Credentials
from dataharbour.storage.address import folder_address


@pytest.fixture
def platform(tmp_path):
    """A platform whose lake is a folder below a path with a space."""
    home = tmp_path / "my home"
    gold = home / "lake" / "gold" / "delays_by_carrier"
    gold.mkdir(parents=True)
    rows = {
        "carrier": ["AA", "UA"],
        "name": ["American", "United"],
        "flights": [32_729, 58_665],
        "cancelled": [636, 686],
        "mean_dep_delay_min": [8.586, 12.106],
        "mean_arr_delay_min": [0.364, 3.558],
    }
    parquet.write_table(pa.table(rows), gold / "part-0.parquet")
    (gold / "_SUCCESS").touch()
    plan = SimpleNamespace(lake=folder_address(home / "lake"), credentials=Credentials())
    return SimpleNamespace(plan=plan, store=SimpleNamespace(endpoint="http://127.0.0.1:1"))


def test_the_result_is_read_from_a_lake_of_files_wherever_it_lies(platform):
    header, first, second = gold_rows(platform)
    assert header[:3] == ("carrier", "name", "flights")
    assert first == ("UA", "United", "58,665", "686", "12.11", "3.56")
    assert second[0] == "AA"
