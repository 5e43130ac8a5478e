"""The bucket with the runs' data: how it is reached, as objects and by other libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dataharbour.storage.open import open_store
from dataharbour.storage.store import ObjectStore


@dataclass(frozen=True, slots=True)
class LakeEndpoint:
    """The data bucket; the fields after `uri` are None for a ``file://`` lake."""

    uri: str
    endpoint_url: str | None = None
    region: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)


def open_lake(lake: LakeEndpoint) -> ObjectStore:
    """The lake's objects."""
    return open_store(
        lake.uri,
        endpoint_url=lake.endpoint_url,
        access_key=lake.access_key,
        secret_key=lake.secret_key,
        region=lake.region,
    )


def aws_variables(lake: LakeEndpoint) -> Mapping[str, str]:
    """The bucket's address and keys under AWS's names, for a process that reads these."""
    named = {
        "AWS_ENDPOINT_URL": lake.endpoint_url,
        "AWS_ACCESS_KEY_ID": lake.access_key,
        "AWS_SECRET_ACCESS_KEY": lake.secret_key,
        "AWS_REGION": lake.region,
        "AWS_DEFAULT_REGION": lake.region,
    }
    return {name: value for name, value in named.items() if value is not None}
