from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from dataharbour.errors import PlatformError
from dataharbour.platform import credentials


def flat(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in flat(item)]
    return [value]


def test_secrets_are_made_once_and_kept(tmp_path):
    first = credentials.load_or_create(tmp_path / "secrets")
    assert credentials.load_or_create(tmp_path / "secrets") == first


def test_no_two_secrets_are_alike_and_none_is_short(tmp_path):
    leaves = flat(asdict(credentials.load_or_create(tmp_path)))
    assert len(set(leaves)) == len(leaves)
    assert min(map(len, leaves)) >= 20


def test_two_platforms_share_no_secret(tmp_path):
    one = flat(asdict(credentials.load_or_create(tmp_path / "a")))
    two = flat(asdict(credentials.load_or_create(tmp_path / "b")))
    assert not set(one) & set(two)


def test_only_the_owner_reads_them(tmp_path):
    credentials.load_or_create(tmp_path / "secrets")
    file = tmp_path / "secrets" / "credentials.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_secret_that_a_newer_version_needs_is_added_and_the_others_stay(tmp_path):
    before = credentials.load_or_create(tmp_path)
    file = tmp_path / "credentials.json"
    stored = json.loads(file.read_text())
    del stored["spark_connect_token"]
    file.write_text(json.dumps(stored))
    after = credentials.load_or_create(tmp_path)
    assert after.jwt_secret == before.jwt_secret
    assert after.spark_connect_token != before.spark_connect_token
    assert credentials.load_or_create(tmp_path) == after


def test_an_identity_that_a_newer_version_needs_is_added_by_up_alone(tmp_path):
    before = credentials.load_or_create(tmp_path)
    file = tmp_path / credentials.FILE
    stored = json.loads(file.read_text())
    del stored["vault"]["prune"], stored["users"]["viewer"]
    file.write_text(json.dumps(stored))
    with pytest.raises(PlatformError, match="lacks secrets") as caught:
        credentials.load(tmp_path)
    assert "restart" in caught.value.remedy
    assert json.loads(file.read_text()) == stored
    after = credentials.load_or_create(tmp_path)
    assert after.vault["backup"] == before.vault["backup"]
    assert after.vault["prune"] != before.vault["prune"]
    assert set(after.users) == set(before.users)
    assert credentials.load(tmp_path) == after


def test_a_secret_of_a_newer_version_is_kept(tmp_path):
    credentials.load_or_create(tmp_path)
    file = tmp_path / credentials.FILE
    stored = json.loads(file.read_text()) | {"of_tomorrow": "x"}
    del stored["fernet_key"]
    file.write_text(json.dumps(stored))
    credentials.load_or_create(tmp_path)
    assert json.loads(file.read_text())["of_tomorrow"] == "x"


def test_a_file_is_replaced_whole_and_leaves_no_draft(tmp_path):
    file = tmp_path / "x"
    credentials.write_private(file, "old")
    credentials.write_private(file, "new")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]
