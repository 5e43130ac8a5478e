"""The requests are written by hand; here Spark's own classes read them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dataharbour.jobs.driver.interrupt import interrupt
from dataharbour.jobs.driver.spec import ConnectSession
from dataharbour.platform.connect_probe import connect_problem, query_problem

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pandas 3, which pyspark does not know yet
    from pyspark.sql.connect.proto import base_pb2, base_pb2_grpc

SESSION = "11111111-2222-4333-8444-555555555555"
LONG = "select " + ", ".join(f"{n} as c{n}" for n in range(60))


class Server(base_pb2_grpc.SparkConnectServiceServicer):
    """Answers as Spark does, and keeps what it was asked."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.asked: list = []
        self.replies: list = []
        self.states: list = []  # of an operation, at each time that it is asked for

    def _check(self, context) -> None:
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")

    def ReleaseSession(self, request, context):
        self._check(context)
        self.asked.append(request)
        return base_pb2.ReleaseSessionResponse()

    def Interrupt(self, request, context):
        self._check(context)
        self.asked.append(request)
        return base_pb2.InterruptResponse(session_id="s" * 150, interrupted_ids=["a", "b"])

    def GetStatus(self, request, context):
        self._check(context)
        self.asked.append(request)
        status = base_pb2.GetStatusResponse.OperationStatus
        states = [status.OPERATION_STATE_CANCELLED, *self.states[:1]]
        self.states = self.states[1:]
        return base_pb2.GetStatusResponse(
            session_id="s" * 150,
            operation_statuses=[status(operation_id="o" * 36, state=s) for s in states],
        )

    def ExecutePlan(self, request, context):
        self._check(context)
        self.asked.append(request)
        yield from self.replies


@contextmanager
def serving(tls=None):
    server = Server(secrets.token_hex(4))
    host = grpc.server(ThreadPoolExecutor(2))
    base_pb2_grpc.add_SparkConnectServiceServicer_to_server(server, host)
    port = (
        host.add_secure_port("127.0.0.1:0", tls) if tls else host.add_insecure_port("127.0.0.1:0")
    )
    host.start()
    try:
        yield server, port
    finally:
        host.stop(None)


def reply(**kind):
    return base_pb2.ExecutePlanResponse(
        session_id=SESSION, server_side_session_id="x" * 200, operation_id="o", **kind
    )


ROWS = reply(arrow_batch=base_pb2.ExecutePlanResponse.ArrowBatch(row_count=1, data=b"x" * 300))
DONE = reply(result_complete=base_pb2.ExecutePlanResponse.ResultComplete())
COMMAND = reply(sql_command_result=base_pb2.ExecutePlanResponse.SqlCommandResult())


def ask(server, port, sql):
    return query_problem("127.0.0.1", port, server.token, session=SESSION, sql=sql, timeout_s=5)


@pytest.mark.parametrize("sql", ["select 1", LONG], ids=["short", "long"])
def test_a_query_is_one_that_spark_understands(sql):
    with serving() as (server, port):
        server.replies = [ROWS, DONE]
        assert ask(server, port, sql) is None
    assert server.asked[0].plan.root.sql.query == sql
    assert server.asked[0].session_id == SESSION
    assert server.asked[0].user_context.user_id == "harbour-probe"


def test_a_command_is_one_that_spark_understands():
    with serving() as (server, port):
        server.replies = [COMMAND, DONE]
        assert ask(server, port, "insert into t select 1") is None
    command = server.asked[0].plan.command.sql_command
    assert command.input.sql.query == "insert into t select 1"


@pytest.mark.parametrize("replies", [[], [DONE], [COMMAND]], ids=["none", "no-rows", "another"])
def test_a_server_that_gives_no_rows_has_not_answered(replies):
    with serving() as (server, port):
        server.replies = replies
        assert ask(server, port, "select 1") == f"port {port}: no result"


def test_a_wrong_token_is_told():
    with serving() as (_, port):
        problem = connect_problem("127.0.0.1", port, "wrong")
    assert problem == f"the server on port {port} does not take our token"


def test_the_small_request_makes_no_session():
    with serving() as (server, port):
        assert connect_problem("127.0.0.1", port, server.token) is None
    assert server.asked[0].user_context.user_id == "harbour-probe"
    assert isinstance(server.asked[0], base_pb2.ReleaseSessionRequest)


def test_an_interrupt_is_one_that_spark_understands():
    with serving() as (server, port):
        session = ConnectSession("localhost", port, server.token, SESSION, "ana@example.org")
        assert interrupt(session) == 2
    first, status, last = server.asked
    assert first.interrupt_type == base_pb2.InterruptRequest.INTERRUPT_TYPE_ALL
    assert status.HasField("operation_status")
    assert isinstance(last, base_pb2.ReleaseSessionRequest)
    for request in server.asked:
        assert request.session_id == SESSION
        assert request.user_context.user_id == "ana@example.org"


def test_a_session_is_released_only_when_its_operations_are_over():
    with serving() as (server, port):
        status = base_pb2.GetStatusResponse.OperationStatus
        server.states = [status.OPERATION_STATE_RUNNING, status.OPERATION_STATE_TERMINATING]
        interrupt(ConnectSession("localhost", port, server.token, SESSION, "ana"))
    kinds = [type(request).__name__ for request in server.asked]
    assert kinds == ["InterruptRequest", *["GetStatusRequest"] * 3, "ReleaseSessionRequest"]


def certificate(folder):
    """A key, and a certificate for 127.0.0.1 that vouches for itself; its file is the second."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "a server elsewhere")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = signed.public_bytes(pem)
    (folder / "ca.pem").write_bytes(public)
    return grpc.ssl_server_credentials([(private, public)]), folder / "ca.pem"


@pytest.mark.parametrize("trusted", [True, False])
def test_a_server_elsewhere_is_interrupted_over_tls_and_only_if_it_is_who_it_says(
    tmp_path, trusted
):
    tls, authority = certificate(tmp_path)
    roots = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(authority)} if trusted else {}
    with serving(tls) as (server, port):
        session = ConnectSession("127.0.0.1", port, server.token, SESSION, "ana")
        done = subprocess.run(
            [sys.executable, "-m", "dataharbour.jobs.driver.interrupt"],
            input=json.dumps(asdict(session)),
            env={**os.environ, **roots},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == (0 if trusted else 1), done.stderr
    assert bool(server.asked) is trusted
    assert server.token not in done.stdout + done.stderr
