"""Ask a Spark Connect server whether it answers, within a deadline of our own. Does I/O.

Requests by plain gRPC: Spark's own client imports pandas, and retries for minutes in silence.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

_SERVICE = "/spark.connect.SparkConnectService"
_SESSION = "00000000-0000-4000-8000-000000000000"  # nobody has it
_USER = "harbour-probe"
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0))


def connect_problem(host: str, port: int, token: str, *, timeout_s: float = 2.0) -> str | None:
    """None when the server answers, else the reason; never takes much longer than `timeout_s`.

    Asks it to release a session that nobody has, so nothing is made on the server.
    """
    request = _field(1, _SESSION.encode()) + _user()

    def ask(channel: Any, **call: Any) -> None:
        channel.unary_unary(f"{_SERVICE}/ReleaseSession")(request, **call)

    return _problem(host, port, token, timeout_s, ask)


def query_problem(
    host: str, port: int, token: str, *, session: str, sql: str, timeout_s: float
) -> str | None:
    """None when the server has carried out `sql`, else the reason.

    Args:
        host: of the server.
        port: of the server.
        token: of the server.
        session: a UUID; the session is made with its first query, and stays.
        sql: a query or a command.
        timeout_s: how long the whole may take.
    """
    sql_relation = _field(10, _field(1, sql.encode()))
    command = _field(5, _field(6, sql_relation))  # as the client's `spark.sql`
    # ExecutePlanRequest: 1 the session, 2 the user, 3 the plan (1 a relation, 2 a command).
    is_query = sql.lstrip().lower().startswith("select")
    plan = _field(1, sql_relation) if is_query else _field(2, command)
    request = _field(1, session.encode()) + _user() + _field(3, plan)

    def ask(channel: Any, **call: Any) -> None:
        replies = channel.unary_stream(f"{_SERVICE}/ExecutePlan")(request, **call)
        kinds = {number for reply in replies for number in _numbers(reply)}
        wanted = _ARROW_BATCH if is_query else _SQL_COMMAND_RESULT
        if wanted not in kinds:
            raise ValueError("no result")

    return _problem(host, port, token, timeout_s, ask)


_ARROW_BATCH, _SQL_COMMAND_RESULT = 2, 5  # fields of ExecutePlanResponse


def _problem(host: str, port: int, token: str, timeout_s: float, ask: Any) -> str | None:
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError as error:  # cheaper than gRPC, and the usual answer while it starts
        return f"port {port}: {error.strerror or error}"
    import grpc  # slow to import

    with grpc.insecure_channel(f"{host}:{port}", options=_OPTIONS) as channel:
        try:
            ask(channel, timeout=timeout_s, metadata=(("authorization", f"Bearer {token}"),))
        except ValueError as error:
            return f"port {port}: {error}"
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                return f"the server on port {port} does not take our token"
            return f"port {port}: {error.code().name.lower().replace('_', ' ')}"
    return None


def _user() -> bytes:
    """Field 2 of each request: the user context, whose 1 is the user."""
    return _field(2, _field(1, _USER.encode()))


def _field(number: int, content: bytes) -> bytes:
    """One length-delimited protobuf field, of a number below 16."""
    return bytes(((number << 3) | 2,)) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes((low | 0x80,)) + _varint(rest) if rest else bytes((low,))


def _numbers(message: bytes) -> Iterator[int]:
    """The numbers of a message's length-delimited fields; those of replies have no other."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 != 2:
            return
        yield key >> 3
        length = varint()
        at += length
