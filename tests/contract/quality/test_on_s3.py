"""A suite on tables in a real object store."""

from __future__ import annotations

import secrets

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import S3FileSystem

from dataharbour.quality.process import QualityProcess

SUITE = """
name: s
tables:
  gold/t:
    keys: [month]
    expectations:
      - {type: expect_table_row_count_to_equal, kwargs: {value: 3}}
      - {type: expect_column_values_to_be_between, kwargs: {column: n, max_value: 2}}
"""


@pytest.fixture
def request_(tmp_path, lake_bucket):
    """A request for `gold/t`, which is staged in a folder per month."""
    (tmp_path / "expectations").mkdir()
    (tmp_path / "expectations" / "s.yaml").write_text(SUITE)
    prefix = f"{lake_bucket.bucket}/.attempts/{secrets.token_hex(4)}"
    filesystem = S3FileSystem(
        endpoint_override=lake_bucket.endpoint_url,
        access_key=lake_bucket.access_key,
        secret_key=lake_bucket.secret_key,
    )
    table = pa.table({"n": [1, 2, 3], "month": [1, 1, 2]})
    pq.write_to_dataset(table, f"{prefix}/gold/t", partition_cols=["month"], filesystem=filesystem)
    return {"root": f"s3a://{prefix}", "include_dir": tmp_path}


@pytest.fixture
def access(lake_bucket):
    return {
        "AWS_ENDPOINT_URL": lake_bucket.endpoint_url,
        "AWS_ACCESS_KEY_ID": lake_bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": lake_bucket.secret_key,
        "AWS_REGION": "us-east-1",
    }


def verdict(request_, environ):
    with QualityProcess.start(environ=environ) as process:
        return process.evaluate("s", **request_)


def test_staged_tables_are_evaluated_in_the_bucket(request_, access, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")  # of another store
    report = verdict(request_, access)
    assert [rule.verdict for rule in report.rules] == ["passed", "failed"]
    assert report.rules[1].sample == ({"n": 3, "month": 2},)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "signature"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "NETWORK_CONNECTION"),
    ],
    ids=["a-wrong-key", "a-store-that-is-down"],
)
def test_a_store_that_does_not_let_us_in_is_no_verdict_on_the_data(request_, access, other, reason):
    report = verdict(request_, access | other)
    assert report.verdict == "unchecked"
    assert reason in report.message
    assert access["AWS_SECRET_ACCESS_KEY"] not in report.message
