"""The manifest of a base backup: what PostgreSQL says of the files that it sent. Pure.

Source: https://www.postgresql.org/docs/18/backup-manifest-format.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dataharbour.backup.sources.tar_members import Member
from dataharbour.errors import BackupCorrupt

NAME = "backup_manifest"
_NOT_LISTED = ("pg_wal/", NAME)


@dataclass(frozen=True, slots=True)
class WalRange:
    """The WAL that a base backup needs to be whole."""

    timeline: int
    start_lsn: str
    end_lsn: str


@dataclass(frozen=True, slots=True)
class BaseManifest:
    """What a manifest says.

    Attributes:
        system_identifier: of the cluster.
        wal: what is needed.
        files: size and SHA-256 by path.
    """

    system_identifier: int
    wal: tuple[WalRange, ...]
    files: Mapping[str, Member]


def parse_manifest(data: bytes) -> BaseManifest:
    """Read a manifest, and see that it is what was written.

    Raises:
        BackupCorrupt: it is damaged, has no SHA-256, or is of an unknown version.
    """
    try:
        values = json.loads(data)
        # The checksum is of all that stands before its own line.
        told = data[: data.rindex(b'"Manifest-Checksum"')]
        if hashlib.sha256(told).hexdigest() != values["Manifest-Checksum"]:
            raise ValueError("its checksum is another")
        if values["PostgreSQL-Backup-Manifest-Version"] != 2:
            raise ValueError(f"its version is {values['PostgreSQL-Backup-Manifest-Version']}")
        return BaseManifest(
            system_identifier=int(values["System-Identifier"]),
            wal=tuple(
                WalRange(each["Timeline"], each["Start-LSN"], each["End-LSN"])
                for each in values["WAL-Ranges"]
            ),
            files=dict(map(_file, values["Files"])),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BackupCorrupt(
            f"The manifest of a base backup is damaged: {error}.",
            "Nothing can be said of its files; take another base backup.",
        ) from error


def differences(manifest: BaseManifest, found: Mapping[str, Member]) -> Iterator[str]:
    """What is not as the manifest says, a sentence each.

    Args:
        manifest: of the backup.
        found: the files that came, by path, with those that no manifest lists.
    """
    for path, told in manifest.files.items():
        member = found.get(path)
        if member is None:
            yield f"{path} is missing."
        elif member != told:
            yield f"{path} has {member.size_bytes:,} other bytes than the manifest says."
    for path in found:
        if path not in manifest.files and not path.startswith(_NOT_LISTED):
            yield f"{path} is not in the manifest."


def _file(entry: Mapping[str, Any]) -> tuple[str, Member]:
    path = entry["Path"] if "Path" in entry else bytes.fromhex(entry["Encoded-Path"]).decode(
        errors="surrogateescape"
    )  # fmt: skip
    if entry["Checksum-Algorithm"] != "SHA256":
        raise ValueError(f"{path} has a checksum of {entry['Checksum-Algorithm']}")
    return path, Member(int(entry["Size"]), entry["Checksum"])
