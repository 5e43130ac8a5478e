from __future__ import annotations

import pytest

from dataharbour.jobs.driver.redaction import Redaction

SECRET = 'k3y "of" lake'
EVERY_BYTE = bytes(range(256))


def test_secrets_are_taken_out_as_json_writes_them():
    text = rb'{"text": ["the k3y \"of\" lake\u001b[0m\n"]}'
    assert Redaction([SECRET])(text) == rb'{"text": ["the ***\u001b[0m\n"]}'


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(EVERY_BYTE, id="no text"),
        pytest.param(b"PK\x03\x04\0\0\x1b[0mASCII alone", id="bytes that are UTF-8 as well"),
        pytest.param(b"carrier,delay\r\nUA,7\r\n", id="lines that end in CR LF"),
    ],
)
def test_of_what_holds_no_secret_no_byte_is_changed(content):
    assert Redaction([SECRET])(content) == content


def test_a_secret_among_bytes_is_taken_out_and_nothing_else_moves():
    content = EVERY_BYTE + SECRET.encode() + EVERY_BYTE
    redact = Redaction([SECRET, SECRET[:3], ""])
    assert redact(content) == EVERY_BYTE + b"*" * len(SECRET) + EVERY_BYTE
