"""What the objects of a vault are called. Pure."""

from __future__ import annotations

import re

VAULT = "vault.json"
POINTS = "points/"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_POINT = re.compile(rf"{POINTS}([0-9]{{8}})\.json")


def keys_name(number: int) -> str:
    """Where the identities are, sealed to people; the highest number counts."""
    return f"keys/{number:08}.json"


def pack_name(digest: str) -> str:
    """A pack, by the SHA-256 of its stored bytes."""
    return f"packs/{digest[:2]}/{digest}"


def list_name(digest: str) -> str:
    """A part of an index or of a manifest, by the SHA-256 of its stored bytes."""
    return f"lists/{digest[:2]}/{digest}"


def digest_of(name: str) -> str | None:
    """The SHA-256 that the name of a pack or a list promises, or None.

    >>> digest_of("packs/ab/" + "ab" * 32) == "ab" * 32
    True
    """
    kind, _, rest = name.partition("/")
    digest = rest[3:]
    is_one = kind in ("packs", "lists") and _DIGEST.fullmatch(digest) is not None
    return digest if is_one and rest[:3] == f"{digest[:2]}/" else None


def point_name(number: int) -> str:
    """A recovery point, by its place in the chain."""
    return f"{POINTS}{number:08}.json"


def point_number(name: str) -> int | None:
    """The place in the chain that the name of a point says, or None.

    >>> point_number("points/00000042.json"), point_number("points/x.json")
    (42, None)
    """
    found = _POINT.fullmatch(name)
    return int(found[1]) if found else None
