"""The versions of a bucket's objects, to be read: which there are, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, cast

from dataharbour.storage.s3 import S3Store


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object.

    Attributes:
        key: of the object.
        version: its id; ``null`` in a bucket that keeps no versions.
        size_bytes: of the content.
        modified_at: when it was written, by the store's clock, aware; often to the second.
        etag: changes with the content.
        is_deletion: it says that the object was deleted then, and has no content.
    """

    key: str
    version: str
    size_bytes: int
    modified_at: datetime
    etag: str
    is_deletion: bool = False


@dataclass(frozen=True, slots=True)
class OpenVersion:
    """A version that is read.

    Attributes:
        stream: its content.
        content_type: as it was given.
        metadata: of its user.
        tags: as they are now.
    """

    stream: BinaryIO
    content_type: str
    metadata: Mapping[str, str]
    tags: Mapping[str, str]


class BucketVersions(S3Store):
    """A bucket whose versions are read, too."""

    def versions(self) -> Iterator[ObjectVersion]:
        """All versions, sorted by key, of each key the newest first.

        Raises:
            Unavailable: the store does not answer, or refuses.
        """
        pages = self._client.get_paginator("list_object_versions")
        with self._translated(""):
            for page in pages.paginate(Bucket=self._bucket):
                yield from _in_order(page)

    @contextmanager
    def opened(self, version: ObjectVersion) -> Iterator[OpenVersion]:
        """The content of a version.

        Raises:
            NotFound: it is gone.
            Unavailable: the store does not answer, or refuses.
        """
        place = {"Bucket": self._bucket, "Key": version.key, "VersionId": version.version}
        with self._translated(version.key):
            reply = self._client.get_object(**place)
            tags: list[dict[str, str]] = []
            if reply.get("TagCount"):
                tags = self._client.get_object_tagging(**place)["TagSet"]
            with reply["Body"] as body:
                yield OpenVersion(
                    stream=cast("BinaryIO", body),
                    content_type=reply.get("ContentType", ""),
                    metadata=reply.get("Metadata", {}),
                    tags={tag["Key"]: tag["Value"] for tag in tags},
                )


def _in_order(page: Mapping[str, Any]) -> list[ObjectVersion]:
    """The versions of a page; those that say that an object was deleted come apart in it."""
    found = [(each, False) for each in page.get("Versions", ())]
    found += [(each, True) for each in page.get("DeleteMarkers", ())]
    # What was written in one second is in the store's order, but for the newest of all.
    found.sort(key=lambda one: -one[0]["LastModified"].timestamp())
    found.sort(key=lambda one: (one[0]["Key"], not one[0]["IsLatest"]))
    return [
        ObjectVersion(
            key=each["Key"],
            version=each["VersionId"],
            size_bytes=each.get("Size", 0),
            modified_at=each["LastModified"],
            etag=each.get("ETag", ""),
            is_deletion=is_deletion,
        )
        for each, is_deletion in found
    ]
