"""Publishing on both kinds of lake, read back with other code than ours."""

from __future__ import annotations

import io
import secrets
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.jobs.model import Output
from dataharbour.jobs.output import discard_staging, publish, read_record, remove_outdated
from dataharbour.jobs.publication import Record
from dataharbour.jobs.row_counts import count_rows
from dataharbour.quality.tables import open_table
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


def do_publish(store, table: str, attempt: str) -> Record:
    """Publish what `attempt` staged of a table by months; then its staging goes."""
    output = Output(table, ("month",))
    records = publish(
        store, [output], attempt_id=attempt, publication=1, check=lambda: None, now=NOW
    )
    remove_outdated(store, [table], attempt_id=attempt, check=lambda: None)
    discard_staging(store, attempt)
    return records[table]


def parquet(rows: int) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"n": list(range(rows))}), buffer)
    return buffer.getvalue()


def test_a_published_table_is_what_pyarrow_reads(lake):
    store, filesystem = lake
    table = f"gold/t_{secrets.token_hex(4)}"

    def write(attempt: str, **rows: int) -> None:
        for month, count in rows.items():
            name = f"month={month.strip('m')}/part-00000-{secrets.token_hex(4)}.c000.parquet"
            store.put(f".attempts/{attempt}/{table}/{name}", parquet(count))
        do_publish(store, table, attempt)

    def read() -> dict[int, int]:
        dataset = ds.dataset(table, filesystem=filesystem, format="parquet", partitioning="hive")
        months = dataset.to_table().column("month").value_counts().to_pylist()
        return {entry["values"]: entry["counts"] for entry in months}

    write("1", m1=10, m2=20)
    assert read() == {1: 10, 2: 20}
    write("2", m2=5, m3=7)
    assert read() == {2: 5, 3: 7}
    assert not list(store.objects(".attempts/2"))
    record = read_record(store, table)
    files = [f"{table}/{name}" for name in record.files]
    assert sum(pq.read_metadata(io.BytesIO(store.read(file))).num_rows for file in files) == 12
    assert sum(len(store.read(file)) for file in files) == record.bytes


def client_of(lake_bucket):
    """boto3 on the lake, without our code between."""
    return boto3.client(
        "s3",
        endpoint_url=lake_bucket.endpoint_url,
        aws_access_key_id=lake_bucket.access_key,
        aws_secret_access_key=lake_bucket.secret_key,
        region_name="us-east-1",
    )


def plant_folder_marks(lake_bucket, *folders: str) -> None:
    """Empty objects as S3A and older connectors of Hadoop leave them."""
    client = client_of(lake_bucket)
    for folder in folders:
        for key in (f"{folder}/", f"{folder}_$folder$"):
            client.put_object(Bucket=lake_bucket.bucket, Key=key, Body=b"")


def test_marks_of_folders_are_neither_published_nor_counted_nor_judged(lake_bucket):
    table, attempt = f"gold/t_{secrets.token_hex(4)}", secrets.token_hex(4)
    keys = {"access_key": lake_bucket.access_key, "secret_key": lake_bucket.secret_key}
    store = open_store("s3a://lake", endpoint_url=lake_bucket.endpoint_url, **keys)
    staged = f".attempts/{attempt}/{table}"
    plant_folder_marks(lake_bucket, staged, f"{staged}/month=1", f"{staged}/month=2")
    store.put(f"{staged}/month=1/part-00000-x.c000.parquet", parquet(10))
    plant_folder_marks(lake_bucket, f"{staged}/month=1/_temporary")

    endpoint = LakeEndpoint("s3a://lake", lake_bucket.endpoint_url, "us-east-1", **keys)
    root = f"s3a://lake/.attempts/{attempt}"
    assert count_rows(endpoint, root, [table]) == {table: 10}
    access = {
        "AWS_ENDPOINT_URL": lake_bucket.endpoint_url,
        "AWS_ACCESS_KEY_ID": lake_bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": lake_bucket.secret_key,
    }
    assert open_table(root, table, environ=access).count_rows() == 10
    published = do_publish(store, table, attempt)
    [file] = published.files
    assert {found.key for found in store.objects(f"{table}/") if found.size_bytes} == {
        f"{table}/_published.json",
        f"{table}/{file}",
    }
    left = client_of(lake_bucket).list_objects_v2(Bucket="lake", Prefix=f".attempts/{attempt}")
    assert left["KeyCount"] == 0


def test_marks_in_a_table_stay_beside_its_new_content(lake_bucket):
    table = f"gold/t_{secrets.token_hex(4)}"
    store = open_store(
        "s3a://lake",
        endpoint_url=lake_bucket.endpoint_url,
        access_key=lake_bucket.access_key,
        secret_key=lake_bucket.secret_key,
    )
    plant_folder_marks(lake_bucket, table, f"{table}/month=1", f"{table}/month=2")
    for attempt, rows in (("3", 10), ("4", 20)):
        staged = f".attempts/{attempt}/{table}"
        plant_folder_marks(lake_bucket, f"{staged}/month=1")
        store.put(f"{staged}/month=1/part-00000-x.c000.parquet", parquet(rows))
        published = do_publish(store, table, attempt)
    content = store.read(f"{table}/{published.files[0]}")
    assert pq.read_metadata(io.BytesIO(content)).num_rows == 20
