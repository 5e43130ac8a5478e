from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from subprocess import PIPE

import pytest

from dataharbour.errors import PlatformError
from dataharbour.platform import ports


def test_free_ports_are_taken_as_preferred():
    chosen, taken = ports.choose({"api": 8080, "postgres": 15432}, is_free=lambda _: True)
    assert chosen == {"api": 8080, "postgres": 15432}
    assert taken == {}


def test_a_taken_port_gives_way_to_the_next_free_one_and_is_told():
    chosen, taken = ports.choose({"api": 8080}, is_free=lambda port: port > 8081)
    assert chosen == {"api": 8082}
    assert taken == {"api": 8080}


def test_two_names_never_share_a_port():
    chosen, _ = ports.choose({"api": 9000, "postgres": 9000}, is_free=lambda _: True)
    assert len(set(chosen.values())) == 2


def test_a_store_needs_its_grpc_port_as_well():
    chosen, _ = ports.choose({"s3": 18333}, is_free=lambda port: port != 28333)
    assert chosen == {"s3": 18334}


def test_no_free_port_is_an_error_with_a_remedy():
    with pytest.raises(PlatformError, match="No free port for api from 8080") as caught:
        ports.choose({"api": 8080}, is_free=lambda _: False)
    assert "ss -ltnp" in caught.value.remedy


def test_a_listening_socket_is_seen():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        assert ports.is_open(port)
    assert ports.is_free(port)
    assert not ports.is_open(port)


def test_ports_of_the_last_start_are_remembered(tmp_path):
    file = tmp_path / "ports.json"
    assert ports.load(file) == {}
    ports.save(file, {"api": 8081})
    assert ports.load(file) == {"api": 8081}


def test_a_damaged_file_of_ports_is_as_good_as_none(tmp_path):
    file = tmp_path / "ports.json"
    file.write_text("{")
    assert ports.load(file) == {}


def test_a_save_that_is_interrupted_leaves_the_old_ports(tmp_path, monkeypatch):
    file = tmp_path / "ports.json"
    ports.save(file, {"api": 8081})

    def power_fails(_descriptor):
        raise OSError("the power failed")

    monkeypatch.setattr("os.fsync", power_fails)
    with pytest.raises(OSError, match="power"):
        ports.save(file, {"api": 8082})
    assert ports.load(file) == {"api": 8081}


@pytest.fixture
def of_another_process(monkeypatch) -> Iterator[subprocess.Popen[str]]:
    """A process that has the turn; under a name of this test alone."""
    monkeypatch.setattr(ports, "_TURN", f"\0dataharbour.test.{secrets.token_hex(8)}")
    code = (
        "import sys; from dataharbour.platform import ports; ports._TURN = '\\0' + sys.argv[1]\n"
        "with ports.turn(on_wait=print): print('has it', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, ports._TURN[1:]], stdin=PIPE, stdout=PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "has it\n"
        yield process
        process.kill()


def test_two_starts_choose_ports_one_after_the_other(of_another_process):
    waits: list[float] = []

    def told() -> None:
        waits.append(time.monotonic())
        of_another_process.kill()  # its turn ends with it

    with ports.turn(on_wait=told, within_s=30):
        assert len(waits) == 1
        assert time.monotonic() - waits[0] < 10


def test_a_stranger_that_keeps_the_turn_does_not_keep_a_platform_from_starting(of_another_process):
    began = time.monotonic()
    with ports.turn(on_wait=lambda: None, within_s=0.3):
        assert time.monotonic() - began >= 0.3
    assert of_another_process.poll() is None


def test_ports_of_another_platform_are_reserved_with_what_belongs_to_them(tmp_path):
    ports.save(tmp_path / "a", {"s3": 18333, "spark_standby_ui": 14041})
    found = ports.reserved([tmp_path / "a", tmp_path / "is not there"])
    assert found == {18333, 28333, 14041}
