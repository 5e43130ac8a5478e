from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataharbour.jobs.driver.lines import MAX_LINE, Cleaner, LineCutter


def cut(*pieces: bytes, secrets: tuple[str, ...] = ()) -> list[str]:
    cutter = LineCutter(Cleaner(secrets))
    return [line for piece in pieces for line in cutter.feed(piece)] + cutter.end()


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\nb", ["a", "b"]),
        (b"\n\n", ["", ""]),
        (b"10 %\r50 %\r100 %\n", ["100 %"]),
        (b"\x1b[31mred\x1b[0m\n", ["red"]),
        (b"a\x00b\x07c\td\n", ["abc\td"]),
        (b"caf\xe9\n", ["caf\ufffd"]),
        ("é\n".encode(), ["é"]),
        (b"", []),
    ],
)
def test_bytes_become_lines(data, lines):
    assert cut(data) == lines


@given(st.binary(), st.integers(1, 7))
def test_where_the_stream_is_cut_does_not_matter(data, size):
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert cut(*pieces) == cut(data)


@given(st.binary())
def test_every_line_can_be_stored(data):
    for line in cut(data):
        assert "\n" not in line
        assert "\\u0000" not in json.dumps(line)
        line.encode("utf-8")


@given(st.text(min_size=4), st.binary(max_size=50), st.integers(1, 9))
def test_a_secret_never_gets_through_whatever_surrounds_it(secret, around, size):
    if any(ord(c) < 32 or ord(c) in (0x7F, 0x1B) or 0xD800 <= ord(c) <= 0xDFFF for c in secret):
        return
    data = around + secret.encode() + around
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert not any(
        secret in line for line in cut(*pieces, secrets=(secret,)) if "***" not in secret
    )


def test_the_longer_secret_goes_first():
    assert cut(b"key-and-more\n", secrets=("key", "key-and-more")) == ["***"]


def test_an_endless_line_is_cut():
    lines = cut(b"x" * (3 * MAX_LINE + 5))
    assert "".join(lines) == "x" * (3 * MAX_LINE + 5)
    assert max(map(len, lines)) <= MAX_LINE


@given(st.integers(0, 12), st.integers(1, 40), st.sampled_from(["-", "é", "\r", "\x1b[31m", "k"]))
def test_a_secret_on_the_cut_of_an_endless_line_is_not_shown_in_two_halves(before, size, filler):
    secret = "k3y-of-lake"
    head = filler.encode() * (MAX_LINE // len(filler.encode()))
    data = head + b"x" * before + secret.encode() + b"y" * 30
    ends = [data[at : at + size] for at in range(len(head), len(data), size)]
    text = "".join(cut(head, *ends, secrets=(secret, "k3y")))
    assert text.count("***") == 1
    assert text.endswith("x" * before + "***" + "y" * 30)


def test_an_endless_line_arrives_before_it_ends():
    cutter = LineCutter(Cleaner(["12 characters"]))
    assert sum(map(len, cutter.feed(b"x" * (2 * MAX_LINE)))) > 2 * MAX_LINE - 20


def test_a_progress_bar_longer_than_a_line_keeps_its_last_state():
    bars = b"".join(b"%5d of 9999\r" % i for i in range(9_999))
    assert cut(*(bars[at : at + 999] for at in range(0, len(bars), 999)))[-1] == " 9998 of 9999"


def test_a_text_of_several_lines_stays_one():
    clean = Cleaner(["k3y"])
    assert clean("\x1b[31mno k3y\x00\ud800\n\tin k\x003y\r\n") == "no ***\n\tin ***\n"
