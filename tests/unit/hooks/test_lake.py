from __future__ import annotations

import pytest

from dataharbour.hooks.lake import LakeHook


@pytest.fixture
def lake(monkeypatch, tmp_path):
    def set_lake(uri: str) -> None:
        for name in ("HOME", "INCLUDE_DIR", "APPLICATIONS"):
            monkeypatch.setenv(f"AIRFLOW__DATAHARBOUR__{name}", str(tmp_path))
        monkeypatch.setenv("AIRFLOW__DATAHARBOUR__LAKE", uri)

    return set_lake


def test_a_bucket_is_opened_with_the_keys_of_the_connection(connection, lake):
    lake("s3a://lake")
    connection(
        "dataharbour_lake",
        conn_type="aws",
        login="key",
        password="s3cret",
        extra={
            "endpoint_url": "http://127.0.0.1:18333",
            "region_name": "us-east-1",
            "role_arn": "x",
        },
    )
    endpoint = LakeHook().endpoint()
    assert (endpoint.uri, endpoint.endpoint_url) == ("s3a://lake", "http://127.0.0.1:18333")
    assert (endpoint.region, endpoint.access_key) == ("us-east-1", "key")
    assert endpoint.secret_key == "s3cret"
    assert "s3cret" not in repr(endpoint)


def test_a_folder_needs_no_connection(lake):
    lake("file:///data/lake")
    endpoint = LakeHook().endpoint()
    assert endpoint.uri == "file:///data/lake"
    assert endpoint.access_key is None
