"""The few messages of Spark Connect that we send ourselves, as protobuf writes them. Pure.

Spark's own classes come with its client, whose import takes longer than these calls.
"""

from __future__ import annotations

from collections.abc import Iterator

SERVICE = "/spark.connect.SparkConnectService"
_NUMBER, _LENGTH = 0, 2  # wire types


def text(number: int, value: bytes) -> bytes:
    """A field with a length: a string, or a message."""
    return _varint((number << 3) | _LENGTH) + _varint(len(value)) + value


def count(number: int, value: int) -> bytes:
    """A field with a number that is not negative, or one of an enumeration."""
    return _varint(number << 3) + _varint(value)


def of_session(session_id: str, user_id: str) -> bytes:
    """What every request begins with: 1 the session, 2 the user context (1 id, 2 name)."""
    user = text(1, user_id.encode()) + text(2, user_id.encode())
    return text(1, session_id.encode()) + text(2, user)


def fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field, up to the first that is of another kind than ours."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        value, at = _read_varint(message, at)
        if key & 7 == _LENGTH:
            yield key >> 3, message[at : at + value]
            at += value
        elif key & 7 == _NUMBER:
            yield key >> 3, value
        else:
            return


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes((low | 0x80,)) + _varint(rest) if rest else bytes((low,))


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
