"""The versions of a real bucket's objects, and a bucket in a recovery point."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from dataharbour.backup.sources.bucket import BucketCounts, back_up_bucket
from dataharbour.backup.vault.index import ContentIndex
from dataharbour.backup.vault.keys import open_as_reader
from dataharbour.backup.vault.reading import PointReader
from dataharbour.errors import NotFound
from dataharbour.storage.versions import BucketVersions
from dataharbour.testing.vaults import OPERATOR, VaultPlace

SOURCE = "bucket:source"


@pytest.fixture(scope="module")
def client(lake_bucket):
    access_key, secret_key = lake_bucket.identities["admin"]
    return boto3.client(
        "s3", endpoint_url=lake_bucket.endpoint_url, aws_access_key_id=access_key,
        aws_secret_access_key=secret_key, region_name="us-east-1",
    )  # fmt: skip


@pytest.fixture(scope="module")
def buckets(client) -> dict[str, str]:
    """Two for all tests: a store keeps volumes for each that was ever made."""
    names = {kind: f"source-{kind}" for kind in ("versioned", "plain")}
    for name in names.values():
        client.create_bucket(Bucket=name)
    client.put_bucket_versioning(
        Bucket=names["versioned"], VersioningConfiguration={"Status": "Enabled"}
    )
    return names


@pytest.fixture(params=["versioned", "plain"])
def bucket(request, client, buckets):
    """The name of an empty bucket."""
    name = buckets[request.param]
    found = client.list_object_versions(Bucket=name)
    for each in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]:
        client.delete_object(Bucket=name, Key=each["Key"], VersionId=each["VersionId"])
    return name


@pytest.fixture
def versions(lake_bucket, bucket) -> BucketVersions:
    access_key, secret_key = lake_bucket.identities["admin"]
    return BucketVersions(
        bucket, endpoint_url=lake_bucket.endpoint_url, access_key=access_key, secret_key=secret_key
    )


def put(client, bucket, key, content, **more):
    client.put_object(Bucket=bucket, Key=key, Body=content, **more)


def test_all_objects_come_in_order_each_with_its_content(client, bucket, versions):
    keys = ["a", "a b", "a/b", "a/b/c", "b+c", "é", "z" * 200]
    for key in reversed(keys):
        put(client, bucket, key, key.encode())
    found = list(versions.versions())
    assert [each.key for each in found] == sorted(keys)
    for each in found:
        with versions.opened(each) as version:
            assert version.stream.read() == each.key.encode()
        assert each.size_bytes == len(each.key.encode())


def test_what_else_an_object_has_comes_too(client, bucket, versions):
    put(client, bucket, "x", b"1", ContentType="text/csv", Metadata={"owner": "ana"},
        Tagging="level=gold&n=1")  # fmt: skip
    (found,) = versions.versions()
    with versions.opened(found) as version:
        assert (version.content_type, version.metadata) == ("text/csv", {"owner": "ana"})
        assert version.tags == {"level": "gold", "n": "1"}


@pytest.mark.parametrize("bucket", ["versioned"], indirect=True)
def test_of_each_object_the_newest_version_comes_first(client, bucket, versions):
    for key in ("x", "y"):
        for number in range(3):
            put(client, bucket, key, f"{key}{number}".encode())
            time.sleep(1.1)  # stores tell the time to the second
    client.delete_object(Bucket=bucket, Key="y")
    found = list(versions.versions())
    assert [(v.key, v.is_deletion) for v in found] == [("x", False)] * 3 + [
        ("y", True), ("y", False), ("y", False), ("y", False),
    ]  # fmt: skip
    contents = []
    for each in found:
        if not each.is_deletion:
            with versions.opened(each) as version:
                contents.append(version.stream.read())
    assert contents == [b"x2", b"x1", b"x0", b"y2", b"y1", b"y0"]


def test_a_version_that_is_gone_is_told(client, bucket, versions):
    put(client, bucket, "x", b"1")
    (found,) = versions.versions()
    client.delete_object(Bucket=bucket, Key="x", VersionId=found.version)
    with pytest.raises(NotFound), versions.opened(found):
        pass


@pytest.fixture
def place(tmp_path) -> VaultPlace:
    return VaultPlace(tmp_path)


def take(place, versions, point_id, *, mark=None) -> BucketCounts:
    writer = place.writer()
    point = writer.begin(point_id)
    with writer.session(point, SOURCE) as session:
        part = back_up_bucket(session, versions, mark=mark or soon())
    writer.commit(point, [part], {})
    return BucketCounts(**{name: part.about[name] for name in BucketCounts.__annotations__})


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=1)


def contents(place, number) -> dict[str, bytes]:
    """The objects of a point, as they were at its mark."""
    keys, point = open_as_reader(place.store, OPERATOR), place.point(number)
    with ContentIndex(place.root / f"{number}.db") as index:
        reader = PointReader(place.store, keys, point, index)
        return {
            row["object"]: b"".join(reader.pieces(row["pieces"]))
            for row in reader.rows(SOURCE)
            if row["current"]
        }


def test_each_point_has_the_objects_of_its_moment(client, bucket, versions, place):
    put(client, bucket, "a", b"one", Metadata={"owner": "ana"})
    put(client, bucket, "large", b"x" * 5_000_000)
    first = take(place, versions, "1")
    assert (first.objects, first.changed, first.read_bytes) == (2, 2, 5_000_003)
    put(client, bucket, "a", b"another")
    put(client, bucket, "b", b"")
    client.delete_object(Bucket=bucket, Key="large")
    second = take(place, versions, "2")
    assert second.objects == 2
    assert second.read_bytes == 7
    unchanged = take(place, versions, "3")
    assert (unchanged.changed, unchanged.gone, unchanged.read_bytes) == (0, 0, 0)
    assert contents(place, 1) == {"a": b"one", "large": b"x" * 5_000_000}
    assert contents(place, 2) == contents(place, 3) == {"a": b"another", "b": b""}


@pytest.mark.parametrize("bucket", ["versioned"], indirect=True)
def test_what_was_written_after_the_mark_is_of_the_next_point(client, bucket, versions, place):
    put(client, bucket, "a", b"before")
    time.sleep(1.1)
    mark = datetime.now(UTC)
    time.sleep(1.1)
    put(client, bucket, "a", b"after")
    put(client, bucket, "b", b"after")
    take(place, versions, "1", mark=mark)
    take(place, versions, "2")
    assert contents(place, 1) == {"a": b"before"}
    assert contents(place, 2) == {"a": b"after", "b": b"after"}


def test_an_object_that_vanishes_while_it_is_read_is_counted(client, bucket, versions, place):
    for key in "abc":
        put(client, bucket, key, key.encode())
    listed = list(versions.versions())
    client.delete_object(Bucket=bucket, Key="b", VersionId=listed[1].version)
    versions.versions = lambda: iter(listed)
    counts = take(place, versions, "1")
    assert (counts.vanished, contents(place, 1)) == (1, {"a": b"a", "c": b"c"})
