"""A bucket of an S3 object store, by boto3."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from dataharbour.errors import ConfigError, NotFound, Unavailable
from dataharbour.storage.store import StoredObject

_DELETE_AT_ONCE = 1_000  # the most that one request of the S3 protocol may name
_PART_BYTES = 512 * 2**20  # of a server-side copy; S3 copies at most 5 GiB in one request
_MISSING = {"NoSuchKey", "404", "NotFound"}


class S3Store:
    """The objects of one bucket.

    Args:
        bucket: its name.
        endpoint_url: the store's URL; None for AWS.
        access_key: key id; None for the default chain of AWS.
        secret_key: the secret to it.
        region: the bucket's region.
    """

    def __init__(
        self,
        bucket: str,
        *,
        endpoint_url: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        region: str | None = None,
    ) -> None:
        self._bucket = bucket
        self._client = _client(endpoint_url, access_key, secret_key, region)

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `ObjectStore.objects`."""
        pages = self._client.get_paginator("list_objects_v2")
        with self._translated(prefix):
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
                for found in page.get("Contents", ()):
                    yield StoredObject(found["Key"], found["Size"], found["LastModified"])

    def folders(self, prefix: str) -> Iterator[str]:
        """See `ObjectStore.folders`."""
        pages = self._client.get_paginator("list_objects_v2")
        with self._translated(prefix):
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/"):
                for found in page.get("CommonPrefixes", ()):
                    yield found["Prefix"].removeprefix(prefix).rstrip("/")

    def read(self, key: str, *, limit_bytes: int = 16 * 2**20) -> bytes:
        """See `ObjectStore.read`."""
        with self._translated(key):
            reply = self._client.get_object(Bucket=self._bucket, Key=key)
            with reply["Body"] as body:
                if reply["ContentLength"] > limit_bytes:
                    raise ConfigError(
                        f"s3://{self._bucket}/{key} is larger than {limit_bytes} bytes.",
                        "It is not an object to be read whole.",
                    )
                data: bytes = body.read()
                return data

    def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        with self._translated(key):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data)

    def copy(self, source: str, target: str) -> None:
        """See `ObjectStore.copy`; the bytes do not leave the server."""
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES)
        origin = {"Bucket": self._bucket, "Key": source}
        with self._translated(source):
            self._client.copy(origin, self._bucket, target, Config=parts)

    def delete(self, keys: Iterable[str]) -> None:
        """See `ObjectStore.delete`."""
        remaining = iter(keys)
        while names := [{"Key": key} for key in islice(remaining, _DELETE_AT_ONCE)]:
            with self._translated(names[0]["Key"]):
                reply = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": names, "Quiet": True}
                )
            for failed in reply.get("Errors", ()):
                raise Unavailable(
                    f"s3://{self._bucket}/{failed['Key']} could not be deleted: "
                    f"{failed.get('Code')} {failed.get('Message')}.",
                    "May these credentials delete there?",
                )

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """The errors of botocore as ours; its texts hold no secret."""
        from botocore.exceptions import BotoCoreError, ClientError

        where = f"s3://{self._bucket}/{key}"
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code in _MISSING:
                raise NotFound(f"There is no object {where}.", "Was it deleted?") from error
            raise Unavailable(
                f"The object store refused {where}: {error}.",
                "Are the bucket and the credentials of the connection right?",
            ) from error
        except BotoCoreError as error:
            raise Unavailable(
                f"The object store does not answer for {where}: {error}.",
                "Is it running (harbour status), and is endpoint_url right?",
            ) from error


def _client(
    endpoint_url: str | None, access_key: str | None, secret_key: str | None, region: str | None
) -> Any:
    import boto3  # slow to import
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region or "us-east-1",
        config=Config(
            s3={"addressing_style": "path"},
            # Other stores than AWS do not all know its newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 4},
        ),
    )
