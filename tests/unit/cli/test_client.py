import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from dataharbour.cli import client as client_module
from dataharbour.cli.client import ApiProblem, Client, _parse, _problem, load_client
from dataharbour.cli.exits import Exit, exit_of
from dataharbour.errors import ConfigError, Unavailable


def answer(status: int, body: object) -> httpx.Response:
    content = body if isinstance(body, str) else json.dumps(body)
    return httpx.Response(status, content=content, request=httpx.Request("GET", "http://h/x"))


PROBLEM = {"detail": "No such run.", "remedy": "List them.", "errors": []}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Exit.FAILED),
        (401, Exit.NOT_ALLOWED),
        (403, Exit.NOT_ALLOWED),
        (404, Exit.NOT_FOUND),
        (409, Exit.FAILED),
        (413, Exit.FAILED),
        (422, Exit.FAILED),
        (429, Exit.UNAVAILABLE),
        (500, Exit.FAILED),
        (502, Exit.UNAVAILABLE),
        (503, Exit.UNAVAILABLE),
    ],
)
def test_each_status_has_its_exit_code(status, code):
    error = _problem(answer(status, PROBLEM))
    assert (exit_of(error), error.problem, error.remedy) == (code, "No such run.", "List them.")


def test_a_problem_with_several_fields_names_each():
    errors = [{"detail": "too long", "pointer": "#/a"}, {"detail": "unknown", "parameter": "b"}]
    text = str(_problem(answer(422, PROBLEM | {"errors": errors})))
    assert "#/a: too long" in text
    assert "b: unknown" in text


@pytest.mark.parametrize("body", ["<html>", "[]", "null", '{"detail": "x"}'])
def test_an_answer_of_somebody_else_is_told_apart(body):
    error = _problem(answer(404, body))
    assert "not in DataHarbour's way" in error.problem
    assert "/dataharbour" in error.remedy


def test_events_are_read_as_the_standard_says():
    stream = [
        "retry: 1000",
        "",
        ": a comment",
        "event: state",
        'data: {"state": "RUNNING"}',
        "",
        "id: 1.7",
        "event: lines",
        'data:{"items":',
        "data: [1]}",
        "",
        "id: 1.9",
        "event: lines",
        'data: {"items": [2',
    ]
    position: list[str] = []
    events = [(event.name, event.data) for event in _parse(iter(stream), position)]
    assert events == [("state", {"state": "RUNNING"}), ("lines", {"items": [1]})]
    assert position == ["1.7"], "an event that was cut off has not been read"


def test_the_environment_comes_first():
    client = load_client({"DATAHARBOUR_URL": "http://h/dataharbour/", "DATAHARBOUR_TOKEN": "t"})
    assert client == Client("http://h/dataharbour", "t")


def test_the_token_is_never_shown():
    assert "secret" not in repr(Client("http://h", "secret"))


@pytest.mark.parametrize("name", ["DATAHARBOUR_URL", "DATAHARBOUR_TOKEN"])
def test_half_an_environment_is_refused(name):
    with pytest.raises(ConfigError, match="is not set, its companion is"):
        load_client({name: "x"})


def test_without_a_platform_the_remedy_is_to_start_one(no_platform):
    with pytest.raises(Unavailable, match="does not run") as caught:
        load_client({"HARBOUR_HOME": str(no_platform)})
    assert "harbour up" in caught.value.remedy


def test_nobody_at_the_address_is_unavailable():
    with pytest.raises(Unavailable, match="does not answer"):
        Client("http://127.0.0.1:1/dataharbour", "t").get("runs")


@pytest.mark.parametrize("url", ["not a url", "127.0.0.1:8080", "http://[", "ftp://h/"])
def test_what_is_no_address_is_told(url):
    with pytest.raises((ApiProblem, Unavailable)):
        Client(url, "t").get("runs")


@pytest.fixture
def streams(monkeypatch):
    """A server that sends these event streams, one per connection, then empty ones."""
    monkeypatch.setattr(client_module, "RECONNECT_FOR_S", 0.3)
    monkeypatch.setattr(client_module, "RECONNECT_AFTER_S", 0.05)
    bodies: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        calls = 0

        def do_GET(self):
            type(self).calls += 1
            body = bodies.pop(0) if bodies else ""
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            for part in body.split("QUIET"):
                self.wfile.write(part.encode())
                self.wfile.flush()
                time.sleep(0.4 if "QUIET" in body else 0)

        def log_message(self, *arguments): ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield Client(f"http://127.0.0.1:{server.server_port}", "t"), bodies, Handler
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_ends_its_streams_at_once_is_asked_slowly_and_given_up(streams):
    client, _, server = streams
    with pytest.raises(Unavailable, match="ends its event streams early"):
        list(client.events("runs/x/logs"))
    assert 2 <= server.calls <= 8


def test_a_stream_may_be_quiet_for_longer_than_that(streams):
    client, bodies, _ = streams
    bodies += ["event: state\ndata: {}\n\nQUIET", "event: end\ndata: {}\n\n"]
    assert [event.name for event in client.events("runs/x/logs")] == ["state", "end"]
