"""The log of a run over REST, while a driver writes it through its own database role."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from dataharbour.api import changes, streams

from .conftest import Driver, events


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


def test_a_client_that_leaves_leaves_nothing_behind(server, admin, driver, database):
    def listeners() -> int:
        query = "select count(*) from pg_stat_activity where application_name = %s"
        with psycopg.connect(database) as connection:
            return connection.execute(query, ["dataharbour api changes"]).fetchone()[0]

    def within(seconds: float, count: int) -> bool:
        deadline = time.monotonic() + seconds
        while listeners() != count and time.monotonic() < deadline:
            time.sleep(0.05)
        return listeners() == count

    with stream(admin, driver) as answer:
        told = events(answer)  # held: httpx hangs up when it is collected
        next(told)
        assert server.services.changes._waiting
        assert within(5, 1)
    assert within(5, 0)
    assert not server.services.changes._waiting
    assert server.services.changes._listener is None


def test_a_quiet_stream_shows_that_it_lives(admin, driver, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(streams, "LOOK_AGAIN_S", 0.1)
    with stream(admin, driver) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith(":"))
        assert [next(lines), next(lines)] == [": still here"] * 2


def test_a_stream_that_breaks_again_and_again_brings_each_line_once(admin, driver):
    def work() -> None:
        for number in range(150):
            driver.write(f"{number}a", f"{number}b")
            time.sleep(0.005)
        driver.finish()

    worker = threading.Thread(target=work)
    worker.start()
    seen: list[str] = []
    position: dict[str, str] = {}
    connections, over = 0, False
    while not over:
        connections += 1
        with stream(admin, driver, **position) as answer:
            for count, (name, at, data) in enumerate(events(answer)):
                if at:
                    position = {"Last-Event-ID": at}
                if name == "lines":
                    seen += [line["line"] for line in data["items"]]
                over = name == "end" or at == "end"
                if count >= 3 or over:
                    break  # the connection is cut here
            over = over or answer.status_code == 204
    worker.join()
    assert connections > 5
    assert seen == [f"{number}{half}" for number in range(150) for half in "ab"]


def test_a_stream_outlives_a_database_that_is_away_for_a_moment(server, admin, driver, monkeypatch):
    with stream(admin, driver) as answer:
        told = events(answer)
        next(told)
        with monkeypatch.context() as patch:
            patch.setattr(type(server.services.runs), "logs", _away)
            driver.write("meanwhile")
            time.sleep(0.3)
        assert next(data for name, _, data in told if name == "lines")["items"][0]["line"]


def _away(*_: object, **__: object) -> None:
    raise psycopg.OperationalError("the server closed the connection unexpectedly")


def test_a_page_of_a_long_log_takes_no_longer_than_one_of_a_short_log(admin, driver, database):
    """20,000 chunks lie before the page; `tests/unit/jobs/test_logs.py` counts the rows."""
    driver.write("short")
    path = f"/api/v1/runs/{driver.run_id}/logs"
    with psycopg.connect(database) as connection:
        connection.execute(
            """insert into log_chunk (attempt_id, first_line, lines, line_count, written_at)
               select %s, n, jsonb_build_array(jsonb_build_array(0, 'stdout', n::text)), 1, now()
               from generate_series(2, 20001) n""",
            [driver.grant.attempt_id],
        )

    def page(after: int) -> list[str]:
        items = admin.get(path, params={"cursor": f"1.{after}", "limit": 10}).json()["items"]
        return [item["line"] for item in items]

    def quickest(after: int) -> float:
        taken = []
        for _ in range(7):
            began = time.perf_counter()
            page(after)
            taken.append(time.perf_counter() - began)
        return min(taken)

    assert page(19_995) == ["19996", "19997", "19998", "19999", "20000", "20001"]
    assert page(10_000)[0] == "10001"
    assert quickest(0) < quickest(19_000) * 3 + 0.01, "the first page has 20,000 chunks after it"
