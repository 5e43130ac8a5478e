"""Open the store that a URI names: ``s3a://bucket`` or ``file:///folder``."""

from __future__ import annotations

from pathlib import Path

from dataharbour.errors import ConfigError
from dataharbour.storage.address import split_address
from dataharbour.storage.folder import FolderStore
from dataharbour.storage.store import ObjectStore


def open_store(
    uri: str,
    *,
    endpoint_url: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    region: str | None = None,
) -> ObjectStore:
    """The store behind `uri`; the other arguments are for S3 (see `S3Store`).

    Raises:
        ConfigError: the URI names neither a bucket nor a folder.
    """
    place = split_address(uri)
    if place.scheme == "file" and place.bucket in ("", "localhost") and place.path != "":
        return FolderStore(Path(place.path))
    if place.scheme in ("s3", "s3a") and place.bucket and place.path in ("", "/"):
        from dataharbour.storage.s3 import S3Store

        return S3Store(
            place.bucket,
            endpoint_url=endpoint_url,
            access_key=access_key,
            secret_key=secret_key,
            region=region,
        )
    raise ConfigError(
        f"{uri!r} names no object store.",
        "Give s3a://BUCKET, or file:///FOLDER (setting [dataharbour] lake).",
    )
