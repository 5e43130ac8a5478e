"""Sign JSON documents, and check them: Ed25519 over their canonical form.

The canonical form is what ``jq -cS 'del(.signature)'`` prints, without the newline: names sorted,
nothing between tokens. To keep it that simple, documents hold no fractions.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from dataharbour.errors import BackupCorrupt


def new_signing_key() -> tuple[str, str]:
    """A private key and its public one, base64 of 32 bytes each."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return _text(key.private_bytes_raw()), _text(key.public_key().public_bytes_raw())


def public_key(private: str) -> str:
    """The public key of a private one, both base64."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(private))
    return _text(key.public_key().public_bytes_raw())


def sign(document: Mapping[str, Any], private: str) -> bytes:
    """The document with its `signature`, as it is stored.

    Args:
        document: JSON values without fractions, and without `signature`.
        private: base64 of the key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(private))
    signature = _text(key.sign(canonical(document)))
    return json.dumps({**document, "signature": signature}, indent=1, ensure_ascii=False).encode()


def checked(data: bytes, public: str, *, where: str) -> dict[str, Any]:
    """The document without its signature, which is right.

    Args:
        data: what is stored.
        public: base64 of the public key.
        where: its name, for errors.

    Raises:
        BackupCorrupt: it is no signed document, or not what was signed.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        document: dict[str, Any] = json.loads(data)
        signature = base64.b64decode(document.pop("signature"), validate=True)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public))
        key.verify(signature, canonical(document))
    except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature) as error:
        raise BackupCorrupt(
            f"{where} is not what this vault's writer has signed.",
            "Somebody has changed it, or it belongs to another vault; older versions of the object "
            "may still be there.",
        ) from error
    return document


def canonical(document: Mapping[str, Any]) -> bytes:
    """What is signed.

    >>> canonical({"b": 1, "a": "é"}).decode()
    '{"a":"é","b":1}'
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
