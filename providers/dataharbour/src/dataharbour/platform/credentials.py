"""The platform's generated secrets: made once, kept in one file that only its owner reads."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dataharbour.errors import PlatformError

FILE = "credentials.json"
ROLES = ("admin", "op", "user", "viewer")
S3_IDENTITIES = ("admin", "spark", "logs")
VAULT_IDENTITIES = ("vault_admin", "backup", "prune")


def _password() -> str:
    return secrets.token_urlsafe(18)


def _long_key() -> str:
    return secrets.token_urlsafe(64)  # at least 64 bytes for HS512


def _key_of_32_bytes() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _access_key() -> str:
    return "HB" + secrets.token_hex(9).upper()


def _key_pairs(names: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    return {name: (_access_key(), secrets.token_urlsafe(30)) for name in names}


@dataclass(frozen=True)
class Credentials:
    """Every secret of one platform. Nothing here has a default that another platform shares."""

    postgres_superuser: str = field(default_factory=_password)
    postgres_airflow: str = field(default_factory=_password)
    postgres_dataharbour: str = field(default_factory=_password)
    postgres_driver: str = field(default_factory=_password)
    users: dict[str, str] = field(default_factory=lambda: {role: _password() for role in ROLES})
    s3: dict[str, tuple[str, str]] = field(default_factory=lambda: _key_pairs(S3_IDENTITIES))
    vault: dict[str, tuple[str, str]] = field(default_factory=lambda: _key_pairs(VAULT_IDENTITIES))
    spark_connect_token: str = field(default_factory=_password)
    notebooks_token: str = field(default_factory=_password)
    jwt_secret: str = field(default_factory=_long_key)
    api_secret_key: str = field(default_factory=_long_key)
    fernet_key: str = field(default_factory=_key_of_32_bytes)
    spark_cluster_key: str = field(default_factory=_key_of_32_bytes)
    spark_cluster_secret: str = field(default_factory=_password)


def load(folder: Path) -> Credentials:
    """Read `folder`/credentials.json.

    Raises:
        PlatformError: it is missing, or was made by an older version that knew fewer secrets.
    """
    stored = _read(folder)
    complete = _complete(stored)
    if complete != stored:
        raise PlatformError(
            f"{folder / FILE} lacks secrets that this version needs.",
            "Run ./harbour restart: it makes them.",
        )
    return _parse(complete)


def load_or_create(folder: Path) -> Credentials:
    """Read `folder`/credentials.json; make what is missing, also for a newer version.

    For whoever holds the platform's lock.
    """
    stored = _read(folder)
    complete = _complete(stored)
    if complete != stored:
        write_private(folder / FILE, json.dumps(complete, indent=1))
    return _parse(complete)


def _read(folder: Path) -> dict[str, Any]:
    file = folder / FILE
    stored: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return stored


def _complete(stored: Mapping[str, Any]) -> dict[str, Any]:
    """`stored` with new secrets for those that it lacks, those of one user or identity too."""
    new = json.loads(json.dumps(asdict(Credentials())))
    return {
        **new,
        **{
            name: {**new[name], **value} if isinstance(new.get(name), dict) else value
            for name, value in stored.items()
        },
    }


def _parse(complete: Mapping[str, Any]) -> Credentials:
    known = {f.name: complete[f.name] for f in fields(Credentials)}
    for name in ("s3", "vault"):
        known[name] = {who: (pair[0], pair[1]) for who, pair in known[name].items()}
    return Credentials(**known)


def write_private(file: Path, text: str) -> None:
    """Replace `file` by `text`, readable by its owner only, never half-written."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)
