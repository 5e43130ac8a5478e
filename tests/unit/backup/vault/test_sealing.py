from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataharbour.backup.vault.age import decrypt, encrypt, new_identity, recipient_of
from dataharbour.backup.vault.sealing import seal, unseal
from dataharbour.errors import BackupCorrupt, ConfigError

ANA, ANA_TO = new_identity()
BEN, BEN_TO = new_identity()


@given(st.binary(max_size=5_000))
def test_what_was_sealed_is_opened_by_each_recipient(data):
    sealed = seal(data, [ANA_TO, BEN_TO])
    assert unseal(sealed, [ANA]) == unseal(sealed, [BEN]) == data


def test_nobody_else_opens_it():
    with pytest.raises(BackupCorrupt, match="cannot be opened"):
        unseal(seal(b"x", [ANA_TO]), [BEN])


def test_every_byte_counts():
    sealed = seal(b"some content " * 20, [ANA_TO])
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(BackupCorrupt):
            unseal(bytes(changed), [ANA])
    for size in range(len(sealed)):
        with pytest.raises(BackupCorrupt):
            unseal(sealed[:size], [ANA])


def test_what_is_no_zstd_is_told():
    with pytest.raises(BackupCorrupt, match="cannot be decompressed"):
        unseal(encrypt(b"not compressed", [ANA_TO]), [ANA])


@pytest.mark.skipif(shutil.which("zstd") is None, reason="the program zstd is not installed")
def test_zstd_itself_opens_it():
    frame = decrypt(seal(b"some content " * 99, [ANA_TO]), [ANA])
    done = subprocess.run(["zstd", "-d"], input=frame, capture_output=True, check=True)
    assert done.stdout == b"some content " * 99


def test_an_identity_is_never_repeated():
    wrong = ANA[:-4] + "QQQQ"
    for call in (lambda: recipient_of(wrong), lambda: decrypt(seal(b"x", [ANA_TO]), [wrong])):
        with pytest.raises(ConfigError, match="no age identity") as caught:
            call()
        assert wrong not in str(caught.value)
    assert recipient_of(ANA) == ANA_TO


@pytest.mark.parametrize("recipients", [[], ["age1x"], [ANA_TO, "ssh-rsa x"]])
def test_a_recipient_has_to_be_one(recipients):
    with pytest.raises(ConfigError):
        seal(b"x", recipients)
