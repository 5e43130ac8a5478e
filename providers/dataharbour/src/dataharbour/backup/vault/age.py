"""age files, by pyrage: what is encrypted here opens with any age.

Source: https://age-encryption.org/v1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dataharbour.errors import BackupCorrupt, ConfigError


def new_identity() -> tuple[str, str]:
    """A new identity (``AGE-SECRET-KEY-1…``) and its recipient (``age1…``)."""
    identity = _pyrage().x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def recipient_of(identity: str) -> str:
    """The recipient of an identity.

    Raises:
        ConfigError: it is none; the text is not repeated.
    """
    return str(_identity(identity).to_public())


def encrypt(data: bytes, recipients: Sequence[str], *, armored: bool = False) -> bytes:
    """An age file to recipients (``age1…``).

    Args:
        data: what to encrypt.
        recipients: each of them can open it.
        armored: as text.

    Raises:
        ConfigError: one of them is no recipient, or there is none.
    """
    if not recipients:
        raise ConfigError("Nobody could open it.", "Name at least one recipient.")
    to = [_recipient(each) for each in recipients]
    encrypted: bytes = _pyrage().encrypt(data, to, armored=armored)
    return encrypted


def decrypt(data: bytes, identities: Sequence[str]) -> bytes:
    """What is in an age file, binary or armored.

    Raises:
        BackupCorrupt: it is damaged, or none of the identities fits.
        ConfigError: one of them is no identity.
    """
    pyrage = _pyrage()
    try:
        content: bytes = pyrage.decrypt(data, [_identity(each) for each in identities])
    except pyrage.DecryptError as error:
        raise BackupCorrupt(
            f"An age file of {len(data):,} bytes cannot be opened: {error}.",
            "Either it is damaged, or it was encrypted to somebody else.",
        ) from error
    return content


def _identity(text: str) -> Any:
    pyrage = _pyrage()
    try:
        return pyrage.x25519.Identity.from_str(text.strip())
    except pyrage.IdentityError:
        raise ConfigError(
            "What was given is no age identity.", "One begins with AGE-SECRET-KEY-1."
        ) from None


def _recipient(text: str) -> Any:
    pyrage = _pyrage()
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        problem = f"{text!r} is no age recipient: {error}."
        raise ConfigError(problem, "One begins with age1.") from error


def _pyrage() -> Any:
    """The library, which has no types."""
    import pyrage

    return pyrage
