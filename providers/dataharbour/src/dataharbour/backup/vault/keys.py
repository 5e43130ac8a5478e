"""The identities of a vault, and who may use them.

`data` opens packs, `index` opens lists. Whoever writes has `index` alone. Both lie in the vault,
sealed to people: an operator and an escrow. Changing a person writes these few lines anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dataharbour.backup.vault import names
from dataharbour.backup.vault.age import decrypt, encrypt, new_identity
from dataharbour.backup.vault.signed import checked, new_signing_key, sign
from dataharbour.errors import BackupCorrupt, ConfigError
from dataharbour.storage.store import ConditionalStore

FORMAT = "dataharbour-vault"
VERSION = 1


@dataclass(frozen=True, slots=True)
class WriterKeys:
    """What whoever writes to a vault has.

    Attributes:
        vault_id: which vault's.
        data_recipient: packs are sealed to it.
        index_recipient: lists are sealed to it.
        index_identity: opens lists.
        signing_key: private, base64; signs points.
    """

    vault_id: str
    data_recipient: str
    index_recipient: str
    index_identity: str = field(repr=False)
    signing_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReaderKeys:
    """What whoever verifies or restores has: all identities of a vault."""

    vault_id: str
    signing_public: str
    data_identity: str = field(repr=False)
    index_identity: str = field(repr=False)


def create_vault(
    store: ConditionalStore, *, vault_id: str, people: Mapping[str, str], now: datetime
) -> WriterKeys:
    """Make a new vault in an empty place.

    Args:
        store: the place.
        vault_id: a UUID.
        people: recipients (``age1…``) by what they are for: ``operator``, ``escrow``.
        now: aware UTC.

    Raises:
        ConfigError: there is a vault already, or nobody could open it.
    """
    data_identity, data_recipient = new_identity()
    index_identity, index_recipient = new_identity()
    signing_key, signing_public = new_signing_key()
    identities = {"data": data_identity, "index": index_identity, "signing": signing_key}
    number = 1 + len(_key_names(store))  # of somebody who was killed here before
    wrapped = _wrapped(identities, people=people, number=number, now=now)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "id": vault_id,
        "created_at": now.isoformat(),
        "data": data_recipient,
        "index": index_recipient,
        "signing": signing_public,
    }
    # The keys first: a vault that is there can be opened.
    store.create(names.keys_name(number), sign(wrapped, signing_key))
    if not store.create(names.VAULT, sign(about, signing_key)):
        raise ConfigError(
            "There is a vault in this place already.",
            "Give a place of its own, or the keys of the vault that is there.",
        )
    return WriterKeys(vault_id, data_recipient, index_recipient, index_identity, signing_key)


def open_as_reader(store: ConditionalStore, person_identity: str) -> ReaderKeys:
    """The identities of a vault, by that of somebody whom they were sealed to.

    Raises:
        NotFound: there is no vault.
        BackupCorrupt: what is there is damaged, or was sealed to somebody else.
    """
    about = about_vault(store)
    wrapped = _newest_keys(store, about["signing"])
    data, index = (
        decrypt(wrapped[name].encode(), [person_identity]).decode() for name in ("data", "index")
    )
    return ReaderKeys(about["id"], about["signing"], data, index)


def about_vault(store: ConditionalStore) -> dict[str, Any]:
    """What a vault says of itself.

    Raises:
        NotFound: there is none.
        BackupCorrupt: it is no vault that this version reads.
    """
    data = store.read(names.VAULT)
    try:
        signing = json.loads(data)["signing"]
    except (ValueError, KeyError, TypeError) as error:
        raise BackupCorrupt(
            f"{names.VAULT} is damaged.", "Older versions of the object may still be there."
        ) from error
    about = checked(data, signing, where=names.VAULT)
    if (about["format"], about["version"]) != (FORMAT, VERSION):
        raise BackupCorrupt(
            f"{names.VAULT} says {about['format']} {about['version']}.",
            f"This version reads {FORMAT} {VERSION}.",
        )
    return about


def _wrapped(
    identities: Mapping[str, str], *, people: Mapping[str, str], number: int, now: datetime
) -> dict[str, Any]:
    """The document that holds the identities, each an age file to all people, as text."""
    sealed = {
        name: encrypt(identity.encode(), list(people.values()), armored=True).decode()
        for name, identity in identities.items()
    }
    return {"number": number, "made_at": now.isoformat(), "people": dict(people), **sealed}


def _key_names(store: ConditionalStore) -> list[str]:
    return sorted(each.key for each in store.objects("keys/"))


def _newest_keys(store: ConditionalStore, signing: str) -> dict[str, Any]:
    """The newest that the vault's writer has signed; what else lies there counts for nothing."""
    for name in reversed(_key_names(store)):
        try:
            return checked(store.read(name), signing, where=name)
        except BackupCorrupt:
            continue
    raise BackupCorrupt(
        "Nothing below keys/ is signed by this vault's writer.",
        "Older versions of its objects may still be there.",
    )
