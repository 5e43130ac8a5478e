"""Publishing on both kinds of lake, read back with other code than ours."""

from __future__ import annotations

import io
import secrets
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from dataharbour.jobs.model import Output
from dataharbour.jobs.output import publish
from dataharbour.storage.open import open_store

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(params=["folder", "s3"])
def lake(request, tmp_path: Path):
    """A store of ours, and the same place as pyarrow sees it."""
    if request.param == "folder":
        (tmp_path / "lake").mkdir()
        return open_store((tmp_path / "lake").as_uri()), fs.SubTreeFileSystem(
            str(tmp_path / "lake"), fs.LocalFileSystem()
        )
    bucket = request.getfixturevalue("lake_bucket")
    keys = {"access_key": bucket.access_key, "secret_key": bucket.secret_key}
    remote = fs.S3FileSystem(endpoint_override=bucket.endpoint_url, region="us-east-1", **keys)
    return open_store("s3a://lake", endpoint_url=bucket.endpoint_url, **keys), (
        fs.SubTreeFileSystem("lake", remote)
    )


def parquet(rows: int) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"n": list(range(rows))}), buffer)
    return buffer.getvalue()


def test_a_published_table_is_what_pyarrow_reads(lake):
    store, filesystem = lake
    table = f"t_{secrets.token_hex(4)}"

    def write(attempt: str, **rows: int) -> None:
        for month, count in rows.items():
            name = f"month={month.strip('m')}/part-00000-{secrets.token_hex(4)}.c000.parquet"
            store.put(f".attempts/{attempt}/{table}/{name}", parquet(count))
        publish(store, [Output(table, ("month",))], attempt_id=attempt, check=lambda: None, now=NOW)

    def read() -> dict[int, int]:
        dataset = ds.dataset(table, filesystem=filesystem, format="parquet", partitioning="hive")
        months = dataset.to_table().column("month").value_counts().to_pylist()
        return {entry["values"]: entry["counts"] for entry in months}

    write("1" + table, m1=10, m2=20)
    assert read() == {1: 10, 2: 20}
    write("2" + table, m2=5, m3=7)
    assert read() == {2: 5, 3: 7}
    assert not list(store.objects(f".attempts/2{table}"))
