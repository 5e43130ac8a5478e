"""Ask a Spark Connect server whether it answers, within a deadline of our own. Does I/O.

One small request by plain gRPC: Spark's own client imports pandas, and retries for minutes in
silence. The request releases a session that nobody has, so nothing is made on the server.
"""

from __future__ import annotations

import socket

_CALL = "/spark.connect.SparkConnectService/ReleaseSession"
_SESSION = "00000000-0000-4000-8000-000000000000"
_USER = "harbour-probe"
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0))


def connect_problem(host: str, port: int, token: str, *, timeout_s: float = 2.0) -> str | None:
    """None when the server answers, else the reason; never takes much longer than `timeout_s`."""
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError as error:  # cheaper than gRPC, and the usual answer while it starts
        return f"port {port}: {error.strerror or error}"
    import grpc  # slow to import

    with grpc.insecure_channel(f"{host}:{port}", options=_OPTIONS) as channel:
        try:
            channel.unary_unary(_CALL)(
                _request(),
                timeout=timeout_s,
                metadata=(("authorization", f"Bearer {token}"),),
            )
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                return f"the server on port {port} does not take our token"
            return f"port {port}: {error.code().name.lower().replace('_', ' ')}"
    return None


def _request() -> bytes:
    """A ReleaseSessionRequest: 1 the session, 2 the user context, whose 1 is the user."""
    user = _field(1, _USER.encode())
    return _field(1, _SESSION.encode()) + _field(2, user)


def _field(number: int, content: bytes) -> bytes:
    """One length-delimited protobuf field of fewer than 128 bytes."""
    return bytes(((number << 3) | 2, len(content))) + content
