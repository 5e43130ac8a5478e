"""The log of a run over REST, while a driver writes it through its own database role."""

from __future__ import annotations

import json
import threading
import time
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from dataharbour.api import changes
from dataharbour.jobs.model import Detail, RunRequest


class Driver:
    """What the bootstrap of a Spark driver does to the database."""

    def __init__(self, server, database: str) -> None:
        self.runs, self.now = server.services.runs, server.services.now
        run = self.runs.open_run(
            RunRequest(application="hello.py"),
            application_sha256="0" * 64,
            dag_id="spark_job",
            dag_run_id=uuid4().hex,
            task_id="run",
            principal="ada",
            now=self.now(),
        )
        self.run_id = str(run.id)
        self.grant = self.runs.start_attempt(run.id, backend="local", now=self.now())
        self.connection = psycopg.connect(database, autocommit=True)
        self.next_line = 1
        assert self._call("select driver.claim(%s, %s, 'test')")

    def write(self, *lines: str) -> None:
        payload = Jsonb([[time.time(), "stdout", line] for line in lines])
        self.next_line = self._call("select driver.log(%s, %s, %s, %s)", self.next_line, payload)

    def finish(self) -> None:
        assert self._call("select driver.finish(%s, %s, 'SUCCEEDED', 0, null, null)")
        self.runs.finalizing(self.grant.run_id, self.now())
        self.runs.finish(self.grant.run_id, detail=Detail.SUCCEEDED, now=self.now())

    def _call(self, query: str, *values: object):
        identity = [self.grant.attempt_id, self.grant.token]
        return self.connection.execute(query, [*identity, *values]).fetchone()[0]


@pytest.fixture
def driver(server, driver_database):
    driver = Driver(server, driver_database)
    yield driver
    driver.connection.close()


def events(answer):
    """(event, id, data) as they arrive."""
    event: dict[str, str] = {}
    for line in answer.iter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value
        elif event:
            if "event" in event:
                yield event["event"], event.get("id"), json.loads(event["data"])
            event = {}


def stream(client, driver, **headers):
    return client.stream(
        "GET",
        f"/api/v1/runs/{driver.run_id}/logs",
        headers={"Accept": "text/event-stream", **headers},
    )


def test_a_log_is_read_page_by_page(admin, driver):
    driver.write("a", "b")
    driver.write("c")
    path = f"/api/v1/runs/{driver.run_id}/logs"
    first = admin.get(path, params={"limit": 2}).json()
    assert [line["line"] for line in first["items"]] == ["a", "b"]
    assert first["items"][0]["stream"] == "stdout"
    assert first["items"][0]["at"].endswith("Z")
    assert first["complete"] is False
    second = admin.get(path, params={"cursor": first["next"]}).json()
    assert [line["line"] for line in second["items"]] == ["c"]
    driver.finish()
    last = admin.get(path, params={"cursor": second["next"]}).json()
    assert last == {"items": [], "next": None, "complete": True}


def test_a_stream_brings_lines_while_they_are_written_and_ends_with_the_run(admin, driver):
    driver.write("before")
    arrived: list[tuple[str, float]] = []
    written: dict[str, float] = {}

    def work() -> None:
        for line in ("one", "two"):
            time.sleep(0.3)
            written[line] = time.monotonic()
            driver.write(line)
        time.sleep(0.3)
        driver.finish()

    worker = threading.Thread(target=work)
    names = []
    with stream(admin, driver) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        worker.start()
        for name, _, data in events(answer):
            names.append(name)
            if name == "lines":
                arrived += [(line["line"], time.monotonic()) for line in data["items"]]
    worker.join()
    assert [line for line, _ in arrived] == ["before", "one", "two"]
    for line, at in arrived[1:]:
        assert at - written[line] < 0.5, "told, not polled"
    assert names[0] == "state"
    assert names[-1] == "end"


def test_a_stream_tells_the_state_of_the_run(admin, driver):
    with stream(admin, driver) as answer:
        told = events(answer)
        assert next(told) == ("state", None, {"state": "RUNNING", "detail": "RUNNING"})
        driver.finish()
        assert [data["state"] for name, _, data in told if name == "state"][-1] == "SUCCEEDED"


def test_a_broken_stream_goes_on_where_it_was(admin, driver):
    driver.write("a", "b")
    with stream(admin, driver) as answer:
        position = next(i for name, i, _ in events(answer) if name == "lines")
    driver.write("c")
    driver.finish()
    with stream(admin, driver, **{"Last-Event-ID": position}) as answer:
        lines = [
            line["line"]
            for name, _, data in events(answer)
            if name == "lines"
            for line in data["items"]
        ]
    assert lines == ["c"]


def test_a_stream_that_was_read_to_its_end_is_not_sent_again(admin, driver):
    driver.write("a")
    driver.finish()
    with stream(admin, driver) as answer:
        last = [i for _, i, _ in events(answer)][-1]
    with stream(admin, driver, **{"Last-Event-ID": last}) as answer:
        assert answer.status_code == 204


def test_the_end_of_the_lines_is_not_the_end_of_the_stream(admin, driver):
    """The id of the last lines must not make a client miss the event `end`."""
    driver.write("a")
    driver.finish()
    with stream(admin, driver) as answer:
        told = list(events(answer))
    [lines_id] = [i for name, i, _ in told if name == "lines"]
    with stream(admin, driver, **{"Last-Event-ID": lines_id}) as answer:
        assert answer.status_code in {200, 204}
        assert not [n for n, _, _ in events(answer) if n == "lines"]


@pytest.mark.parametrize("headers", [{}, {"Accept": "text/event-stream"}])
def test_a_position_that_was_never_given_is_refused(admin, driver, headers):
    answer = admin.get(
        f"/api/v1/runs/{driver.run_id}/logs", params={"cursor": "x"}, headers=headers
    )
    assert answer.status_code == 422


def test_open_streams_take_no_thread_from_others(server, admin, driver):
    """More readers than the thread pool has threads, and the API still answers."""
    clients = [server.client("viewer") for _ in range(60)]
    streams = [stream(client, driver) for client in clients]
    answers = [opened.__enter__() for opened in streams]
    try:
        readers = [events(answer) for answer in answers]
        assert all(next(reader)[0] == "state" for reader in readers)
        began = time.monotonic()
        assert admin.get("/api/v1/runs").status_code == 200
        assert time.monotonic() - began < 2
        driver.write("hello")
        assert all(
            next(data for name, _, data in reader if name == "lines")["items"][0]["line"] == "hello"
            for reader in readers
        )
    finally:
        for opened, client in zip(streams, clients, strict=True):
            opened.__exit__(None, None, None)
            client.close()


def test_a_stream_ends_when_the_server_is_asked_to_stop(serve, settings, database, monkeypatch):
    running = serve(settings, lambda: database)
    with running as server, server.client("admin") as client:
        driver = Driver(server, database)
        monkeypatch.setattr(
            changes.signal, "getsignal", lambda _: running.uvicorn.handle_exit
        )  # uvicorn installs it in the main thread only; here it runs in another
        with stream(client, driver) as answer:
            reader = events(answer)
            next(reader)
            running.uvicorn.should_exit = True
            began = time.monotonic()
            assert list(reader) == []
            assert time.monotonic() - began < 3
        driver.connection.close()


def test_a_client_that_leaves_leaves_nothing_behind(server, admin, driver):
    with stream(admin, driver) as answer:
        next(events(answer))
        assert server.services.changes._waiting
    deadline = time.monotonic() + 5
    while server.services.changes._waiting and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not server.services.changes._waiting
