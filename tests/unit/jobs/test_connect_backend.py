from __future__ import annotations

import os
import socket
from uuid import UUID

import pytest

from dataharbour.jobs.backends import connect
from dataharbour.jobs.backends.connect import ConnectBackend, server_of
from dataharbour.jobs.backends.launch import ConnectEndpoint, StartedDriver
from dataharbour.jobs.backends.start import driver_is_alive
from dataharbour.jobs.driver.process import start_ticks

NOW = ConnectEndpoint("localhost", 15002, "token")


@pytest.mark.parametrize(
    ("external_id", "port"),
    [
        pytest.param("host:7:8@localhost:15003", 15003, id="its-own"),
        pytest.param("host:7:8@[fd00::1]:15003", 15003, id="v6"),
        pytest.param("host:7:8", 15002, id="not-noted"),
        pytest.param(None, 15002, id="not-submitted"),
        pytest.param("host:7:8@", 15002, id="empty"),
    ],
)
def test_a_driver_keeps_the_server_that_it_began_on(external_id, port):
    assert server_of(external_id, NOW).port == port
    assert server_of(external_id, NOW).token == "token"


def test_a_driver_is_found_whatever_server_its_id_names():
    ours = f"{socket.gethostname()}:{os.getpid()}:{start_ticks(os.getpid())}"
    assert driver_is_alive(ours) is True
    assert driver_is_alive(f"{ours}@localhost:15003") is True
    assert driver_is_alive("elsewhere:1:1@localhost:15003") is None


def test_a_killed_driver_is_interrupted_where_it_ran(monkeypatch):
    interrupted = []
    monkeypatch.setattr(connect, "interrupt", interrupted.append)
    driver = StartedDriver(UUID(int=1), "elsewhere:7:8@localhost:15003", "ana")
    ConnectBackend(lambda: NOW).kill(driver)
    assert [(s.host, s.port, s.user_id) for s in interrupted] == [("localhost", 15003, "ana")]
