from __future__ import annotations

import os
import select
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from dataharbour.jobs.driver.reach import ServerWatch, unreachable
from dataharbour.jobs.driver.spec import ConnectSession


@pytest.fixture
def server():
    host = grpc.server(ThreadPoolExecutor(1))
    port = host.add_insecure_port("127.0.0.1:0")
    host.start()
    yield port
    host.stop(None)


@pytest.fixture
def silent():
    """The port of a stopped process: the kernel takes connections, nobody speaks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_server_that_speaks_is_reached(server):
    assert unreachable("localhost", server, timeout_s=5) is None


def test_a_server_that_is_frozen_is_not(silent):
    assert unreachable("localhost", silent, timeout_s=0.2) == "timed out"


def test_a_server_that_is_gone_is_not(closed):
    assert "refused" in unreachable("localhost", closed, timeout_s=1)


def test_elsewhere_a_server_may_want_tls_first(silent):
    assert unreachable("127.0.0.1", silent, timeout_s=0.2) is None


def watch(port: int, wake: int) -> ServerWatch:
    session = ConnectSession("localhost", port, "token", "session", "user")
    return ServerWatch(session, wake=wake, look_every_s=0.05, lost_after_s=0.3)


def test_a_server_that_falls_silent_is_lost_and_wakes_the_supervisor(silent):
    woken, wake = os.pipe()
    lost = watch(silent, wake)
    lost.start()
    assert select.select([woken], [], [], 10)[0]
    assert lost.lost


def test_a_server_that_speaks_is_not_lost(server):
    woken, wake = os.pipe()
    kept = watch(server, wake)
    kept.start()
    assert not select.select([woken], [], [], 0.8)[0]
    assert not kept.lost


def test_without_a_server_there_is_nothing_to_watch():
    ServerWatch(None, wake=-1).start()
