from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataharbour.errors import Conflict, JobFailed
from dataharbour.jobs.backends.launch import LakeEndpoint
from dataharbour.jobs.finalize import finalize
from dataharbour.jobs.model import Output
from dataharbour.jobs.row_counts import count_rows

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class CountingGate:
    """Passes everything, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def check(self, root: str) -> dict[str, Any]:
        self.asked.append(root)
        return {"suite": "sales", "verdict": "passed", "rules": 1, "duration_s": 0.1}


@pytest.fixture
def lake(tmp_path):
    (tmp_path / "lake").mkdir()
    return LakeEndpoint((tmp_path / "lake").as_uri())


@pytest.fixture
def staged(store, new_run, lake, tmp_path):
    """A run whose driver has staged 5 rows of gold/sales in two files; the run and its attempt."""
    run = new_run(outputs=(Output("gold/sales"),), expectations="sales")
    grant = store.start_attempt(run.id, backend="plain", now=NOW)
    folder = tmp_path / "lake/.attempts" / str(grant.attempt_id) / "gold/sales"
    folder.mkdir(parents=True)
    for number, amounts in enumerate(([1, 2], [3, 4, 5])):
        pq.write_table(pa.table({"amount": amounts}), folder / f"part-{number}.parquet")
    return run, grant.attempt_id


def test_the_gate_looks_at_what_was_staged_and_the_rows_are_counted(store, lake, staged):
    run, attempt_id = staged
    gate = CountingGate()
    result = finalize(store, run, attempt_id, lake=lake, gate=gate, now=NOW)
    assert gate.asked == [f"{lake.uri}/.attempts/{attempt_id}"]
    facts = result["tables"]["gold/sales"]
    assert (facts["rows"], facts["files"]) == (5, 2)
    assert result["quality"]["rules"] == 1


def test_what_is_published_is_not_gated_again(store, lake, staged):
    """The first time was killed before it could be recorded; the staging is gone."""
    run, attempt_id = staged
    finalize(store, run, attempt_id, lake=lake, gate=CountingGate(), now=NOW)
    again = CountingGate()
    result = finalize(store, run, attempt_id, lake=lake, gate=again, now=NOW)
    assert again.asked == []
    assert result["tables"]["gold/sales"]["rows"] == 5
    assert result["quality"] == {"suite": "sales", "verdict": "passed"}


def test_an_attempt_that_has_a_successor_publishes_nothing(store, lake, staged, tmp_path):
    run, attempt_id = staged
    store.start_attempt(run.id, backend="plain", now=NOW)
    with pytest.raises(Conflict, match="a newer attempt exists"):
        finalize(store, run, attempt_id, lake=lake, gate=CountingGate(), now=NOW)
    assert not (tmp_path / "lake/gold").exists()


def test_rows_are_counted_in_partitions_and_spark_marks_are_none(lake, tmp_path):
    for month in (1, 2):
        folder = tmp_path / f"lake/x/sales/month={month}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"amount": range(month * 10)}), folder / "part-0.parquet")
    (tmp_path / "lake/x/sales/_SUCCESS").touch()
    (tmp_path / "lake/x/sales/month=1/.part-0.parquet.crc").touch()
    assert count_rows(lake, f"{lake.uri}/x", ["sales", "nothing"]) == {"sales": 30}


def test_a_staged_file_that_is_no_parquet_is_named(lake, tmp_path):
    (tmp_path / "lake/x/sales").mkdir(parents=True)
    (tmp_path / "lake/x/sales/part-0.csv").write_text("a,b\n1,2\n")
    with pytest.raises(JobFailed, match="no Parquet"):
        count_rows(lake, f"{lake.uri}/x", ["sales"])
