from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from dataharbour.backup.vault.age import new_identity
from dataharbour.backup.vault.keys import about_vault, create_vault, open_as_reader
from dataharbour.errors import BackupCorrupt, ConfigError, NotFound
from dataharbour.storage.folder import FolderStore
from dataharbour.testing.mortal import Killed, Life, Mortal

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
OPERATOR, OPERATOR_TO = new_identity()
ESCROW, ESCROW_TO = new_identity()
PEOPLE = {"operator": OPERATOR_TO, "escrow": ESCROW_TO}
ID = "0193-vault"


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore(tmp_path / "vault")


@pytest.mark.parametrize("person", [OPERATOR, ESCROW], ids=["operator", "escrow"])
def test_each_of_the_people_opens_a_vault_alone(store, person):
    writer = create_vault(store, vault_id=ID, people=PEOPLE, now=NOW)
    reader = open_as_reader(store, person)
    assert reader.vault_id == writer.vault_id == ID
    assert reader.index_identity == writer.index_identity


def test_nobody_else_does(store):
    create_vault(store, vault_id=ID, people=PEOPLE, now=NOW)
    with pytest.raises(BackupCorrupt, match="cannot be opened"):
        open_as_reader(store, new_identity()[0])


def test_a_place_has_one_vault(store):
    first = create_vault(store, vault_id=ID, people=PEOPLE, now=NOW)
    with pytest.raises(ConfigError, match="a vault in this place already"):
        create_vault(store, vault_id="another", people=PEOPLE, now=NOW)
    assert open_as_reader(store, OPERATOR).index_identity == first.index_identity


@pytest.mark.parametrize("afterwards", [False, True])
@pytest.mark.parametrize("step", range(4))
def test_who_was_killed_while_making_one_is_in_nobodys_way(store, step, afterwards):
    mortal: Any = Mortal(store, Life(step, afterwards=afterwards))
    with suppress(Killed):
        create_vault(mortal, vault_id=ID, people=PEOPLE, now=NOW)
    try:
        create_vault(store, vault_id="second", people=PEOPLE, now=NOW)
    except ConfigError:
        assert about_vault(store)["id"] == ID
    reader = open_as_reader(store, OPERATOR)
    assert reader.data_identity.startswith("AGE-SECRET-KEY-1")


def test_a_vault_says_what_it_is_and_no_secret(store, tmp_path):
    writer = create_vault(store, vault_id=ID, people=PEOPLE, now=NOW)
    texts = [file.read_text() for file in (tmp_path / "vault").rglob("*.json")]
    assert len(texts) == 2
    for secret in (writer.index_identity, writer.signing_key, "AGE-SECRET-KEY"):
        assert not any(secret in text for text in texts)
        assert secret not in repr(writer)
    about = about_vault(store)
    assert (about["id"], about["data"]) == (ID, writer.data_recipient)


@pytest.mark.parametrize("change", [{"data": OPERATOR_TO}, {"version": 2}, {"id": "x"}])
def test_what_somebody_changed_is_refused(store, change):
    create_vault(store, vault_id=ID, people=PEOPLE, now=NOW)
    store.put("vault.json", json.dumps(json.loads(store.read("vault.json")) | change).encode())
    with pytest.raises(BackupCorrupt, match="not what this vault's writer has signed"):
        about_vault(store)


def test_keys_that_nobody_signed_count_for_nothing(store):
    create_vault(store, vault_id=ID, people=PEOPLE, now=NOW)
    genuine = json.loads(store.read("keys/00000001.json"))
    store.put("keys/00000002.json", json.dumps(genuine | {"data": "another"}).encode())
    assert open_as_reader(store, OPERATOR).data_identity.startswith("AGE-SECRET-KEY-1")
    store.delete(["keys/00000001.json"])
    with pytest.raises(BackupCorrupt, match="Nothing below keys/ is signed"):
        open_as_reader(store, OPERATOR)


def test_where_there_is_none(store):
    with pytest.raises(NotFound):
        open_as_reader(store, OPERATOR)
    with pytest.raises(ConfigError):
        create_vault(store, vault_id=ID, people={}, now=NOW)
    assert list(store.objects()) == []
