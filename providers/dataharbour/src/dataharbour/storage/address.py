"""Take addresses of the lake apart: ``s3a://bucket/prefix``, ``file:///folder``, or a path.

They are written as Hadoop reads them, with nothing percent-encoded: to Spark, ``%20`` is a name of
three characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Address:
    """Where something of the lake is.

    Attributes:
        scheme: ``s3a``, ``s3``, ``file``; empty for a plain path.
        bucket: the name after the two slashes; empty for files.
        path: what follows, with its leading slash.
    """

    scheme: str
    bucket: str
    path: str


def split_address(text: str) -> Address:
    """The parts of an address.

    >>> split_address("file:///my lake/gold")
    Address(scheme='file', bucket='', path='/my lake/gold')
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        return Address("", "", text)
    bucket, slash, path = rest.partition("/")
    return Address(scheme.lower(), bucket, slash + path)


def folder_address(folder: Path) -> str:
    """The address of a folder on this machine."""
    return f"file://{folder}"
