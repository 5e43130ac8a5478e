"""The program that runs a container, against an engine that answers as it is told."""

from __future__ import annotations

import json
import os
import stat

import pytest
from docker.errors import APIError, NotFound

from dataharbour.jobs.container import run
from dataharbour.jobs.container.body import ORDER

NAME = "dataharbour-a"


class Reply:
    def __init__(self, status):
        self.status_code, self.reason, self.url = status, "", ""


def refusal(status: int) -> APIError:
    kind = NotFound if status == 404 else APIError
    return kind("refused", response=Reply(status), explanation="no such image")


class FakeEngine:
    """Remembers what it was asked; `create` and `state` say how it goes."""

    def __init__(self, *, code=0, oom=False, create=()):
        self.code, self.oom, self.create = code, oom, list(create)
        self.asked: list[str] = []

    def create_container_from_config(self, body, name):
        self.asked.append("create")
        if self.create:
            raise self.create.pop(0)

    def attach_socket(self, name, params):
        self.asked.append("attach")
        assert params["stdin"] == 1

    def start(self, name):
        self.asked.append("start")

    def wait(self, name, timeout):
        return {"StatusCode": self.code}

    def inspect_container(self, name):
        return {"State": {"OOMKilled": self.oom}}

    def remove_container(self, name, **_):
        self.asked.append("remove")
        raise refusal(404)


@pytest.fixture
def order(tmp_path):
    (tmp_path / "work").mkdir()
    os.mkfifo(tmp_path / "control")
    body = {"HostConfig": {"Memory": 2**30}}
    return {
        "socket": "unix:///s", "attempt_id": "a", "user": [os.getuid(), os.getgid()],
        "staging": str(tmp_path / "lake/.attempts/a"), "body": body,
    }  # fmt: skip


@pytest.fixture
def told(tmp_path, order, monkeypatch, capfdbinary):
    """Runs it with an engine; its exit code and what it said over the control pipe."""

    def go(engine, frames=(), argv=()):
        reader = os.open(tmp_path / "control", os.O_RDONLY | os.O_NONBLOCK)
        monkeypatch.setenv(ORDER, json.dumps(order))
        monkeypatch.chdir(tmp_path / "work")
        monkeypatch.setattr(run, "_engine", lambda _order: engine)
        monkeypatch.setattr(run, "frames_iter", lambda _stream, tty: iter(frames))
        monkeypatch.setattr(run.signal, "signal", lambda *_: None)
        code = run.main(list(argv))
        try:
            said = os.read(reader, 65_536)
        except BlockingIOError:
            said = b""
        os.close(reader)
        return code, [json.loads(line) for line in said.splitlines()]

    return go


def test_streams_and_exit_code_are_passed_on_and_the_container_is_removed(told, capfdbinary):
    engine = FakeEngine(code=7)
    assert told(engine, [(1, b"out\n"), (2, b"err\n")]) == (7, [])
    assert engine.asked == ["create", "attach", "start", "remove"]
    assert capfdbinary.readouterr() == (b"out\n", b"err\n")


def test_the_order_is_taken_out_of_the_environment(told):
    told(FakeEngine())
    assert ORDER not in os.environ


def test_what_the_engine_killed_for_memory_is_told(told):
    code, [said] = told(FakeEngine(code=137, oom=True))
    assert code == 137
    assert said["failure_class"] == "OUT_OF_MEMORY"
    assert "1024 MiB" in said["message"]


def test_an_engine_that_refuses_is_a_matter_of_configuration(told):
    code, [said] = told(FakeEngine(create=[refusal(404)]))
    assert code == os.EX_UNAVAILABLE
    assert (said["failure_class"], "no such image" in said["message"]) == ("CONFIG", True)


def test_an_engine_that_fails_is_not(told):
    _, [said] = told(FakeEngine(create=[refusal(500)]))
    assert said["failure_class"] == "INFRA"


def test_what_an_earlier_driver_left_is_replaced(told):
    engine = FakeEngine(create=[refusal(409)])
    assert told(engine)[0] == 0
    assert engine.asked[:3] == ["create", "remove", "create"]


def test_called_for_that_it_removes_and_does_no_more(told):
    engine = FakeEngine()
    assert told(engine, argv=["--remove"]) == (0, [])
    assert engine.asked == ["remove"]


def test_what_the_containers_user_needs_is_made(told, tmp_path, order):
    told(FakeEngine())
    assert (tmp_path / "lake/.attempts/a").is_dir()
    passwd = (tmp_path / "passwd").read_text()
    assert passwd == f"spark:x:{os.getuid()}:{os.getgid()}::/run/dataharbour/work:/bin/sh\n"
    child = tmp_path / "package/dataharbour/jobs/driver/child.py"
    assert stat.S_IMODE(child.stat().st_mode) == 0o644
