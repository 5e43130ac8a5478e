"""`python -m dataharbour.jobs.driver.interrupt`: end a driver's session on a Connect server.

A killed client leaves its query running there. Interrupts everything in the
session, then releases it. Reads a `ConnectSession` as JSON from standard input,
so that the token is in no argument. Speaks gRPC directly: importing Spark's own
client takes longer than a cancelled user should wait.
"""

from __future__ import annotations

import json
import sys
import time

from dataharbour.jobs.driver import wire
from dataharbour.jobs.driver.spec import ConnectSession

DEADLINE_S = 3.0
_INTERRUPT_TYPE, _ALL = 4, 1  # of InterruptRequest
_OF_ALL_OPERATIONS = wire.text(5, b"")  # of GetStatusRequest
_OPERATION, _STATE = 3, 2  # of GetStatusResponse, and of one operation in it
_NOT_OVER = {2, 3}  # running, terminating
_INTERRUPTED_ID = 2  # of InterruptResponse


def main() -> int:
    """Interrupt and release; exit 0 when the server did both."""
    session = ConnectSession(**json.load(sys.stdin))
    try:
        print(f"interrupted {interrupt(session)} operation(s)")  # noqa: T201 - the log's line
    except Exception as error:
        print(f"could not interrupt the Spark Connect session: {_code(error)}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def interrupt(session: ConnectSession) -> int:
    """End all operations of the session, then the session; the number of operations."""
    import grpc

    call = {"metadata": [("authorization", f"Bearer {session.token}")], "timeout": DEADLINE_S}
    request = wire.of_session(session.session_id, session.user_id)
    # As Spark's own client has it: only this machine's servers have no TLS.
    is_here = session.host == "localhost"
    credentials = grpc.local_channel_credentials() if is_here else grpc.ssl_channel_credentials()
    with grpc.secure_channel(f"{session.host}:{session.port}", credentials) as channel:
        everything = wire.count(_INTERRUPT_TYPE, _ALL)
        reply = channel.unary_unary(f"{wire.SERVICE}/Interrupt")(request + everything, **call)
        status = channel.unary_unary(f"{wire.SERVICE}/GetStatus")
        until = time.monotonic() + DEADLINE_S
        while _busy(status(request + _OF_ALL_OPERATIONS, **call)) and time.monotonic() < until:
            time.sleep(0.05)
        channel.unary_unary(f"{wire.SERVICE}/ReleaseSession")(request, **call)
    return sum(number == _INTERRUPTED_ID for number, _ in wire.fields(reply))


def _busy(status: bytes) -> bool:
    """Whether an operation is not over yet.

    Spark 4.3 cannot release a session then: it forgets the session and keeps what belongs to it.
    """
    operations = [value for number, value in wire.fields(status) if number == _OPERATION]
    states = {
        value
        for operation in operations
        if isinstance(operation, bytes)
        for number, value in wire.fields(operation)
        if number == _STATE
    }
    return bool(states & _NOT_OVER)


def _code(error: Exception) -> str:
    """What gRPC says went wrong; never its details, which may echo the metadata."""
    code = getattr(error, "code", None)
    return str(code()) if callable(code) else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
