"""Ask a Spark Connect server whether it answers, within a deadline of our own. Does I/O.

Requests by plain gRPC: Spark's own client imports pandas, and retries for minutes in silence.
"""

from __future__ import annotations

import socket
from typing import Any

from dataharbour.jobs.driver import wire

_SESSION = "00000000-0000-4000-8000-000000000000"  # nobody has it
_USER = "harbour-probe"
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0))


def connect_problem(host: str, port: int, token: str, *, timeout_s: float = 2.0) -> str | None:
    """None when the server answers, else the reason; never takes much longer than `timeout_s`.

    Asks it to release a session that nobody has, so nothing is made on the server.
    """
    request = wire.of_session(_SESSION, _USER)

    def ask(channel: Any, **call: Any) -> None:
        channel.unary_unary(f"{wire.SERVICE}/ReleaseSession")(request, **call)

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
    sql_relation = wire.text(10, wire.text(1, sql.encode()))
    command = wire.text(5, wire.text(6, sql_relation))  # as the client's `spark.sql`
    # ExecutePlanRequest: 1 the session, 2 the user, 3 the plan (1 a relation, 2 a command).
    is_query = sql.lstrip().lower().startswith("select")
    plan = wire.text(1, sql_relation) if is_query else wire.text(2, command)
    request = wire.of_session(session, _USER) + wire.text(3, plan)

    def ask(channel: Any, **call: Any) -> None:
        replies = channel.unary_stream(f"{wire.SERVICE}/ExecutePlan")(request, **call)
        kinds = {kind for reply in replies for kind, _ in wire.fields(reply)}
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
