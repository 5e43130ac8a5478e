"""How much one user may ask for at once: open runs, event streams; and one run for one key."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import psycopg
import pytest

from dataharbour.jobs.model import RunRequest

ONE_OFF = {"application": "hello.py", "backend": "local"}


@pytest.fixture
def limited(serve, settings, database):
    """Two open runs and two streams per user."""
    tight = replace(settings, max_active_runs_per_user=2, max_streams_per_user=2)
    with serve(tight, lambda: database) as server:
        yield server


def rows(database: str) -> int:
    with psycopg.connect(database) as connection:
        return connection.execute("select count(*) from public.run").fetchone()[0]


def start(client, key: str, **changes):
    return client.post("/api/v1/runs", json=ONE_OFF | changes, headers={"Idempotency-Key": key})


def test_a_run_too_many_is_429_and_leaves_nothing(limited, database):
    with limited.client() as client:
        assert [start(client, key).status_code for key in "ab"] == [202, 202]
        answer = start(client, "c")
        assert (answer.status_code, answer.json()["code"]) == (429, "limit-reached")
        assert int(answer.headers["retry-after"]) >= 1
        assert "'admin' has 2 runs" in answer.json()["detail"]
        assert "max_active_runs_per_user" in answer.json()["remedy"]
    assert rows(database) == len(limited.airflow.runs) == 2


def test_a_run_that_has_ended_makes_room(limited):
    with limited.client() as client:
        first, *_ = [start(client, key).json() for key in "ab"]
        client.post(f"/api/v1/runs/{first['id']}:cancel")
        assert start(client, "c").status_code == 202
        retry = client.post(f"/api/v1/runs/{first['id']}:retry")
        assert (retry.status_code, retry.json()["code"]) == (429, "limit-reached")


def test_a_known_key_is_answered_however_many_runs_there_are(limited):
    with limited.client() as client:
        first, *_ = [start(client, key).json() for key in "ab"]
        again = start(client, "a")
        assert (again.status_code, again.json()["id"]) == (200, first["id"])
        other = start(client, "a", args=["x"])
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-conflict")


def test_a_key_is_known_as_long_as_its_run(limited):
    with limited.client() as client:
        first = start(client, "a").json()
        client.post(f"/api/v1/runs/{first['id']}:cancel")
        again = start(client, "a")
        assert (again.status_code, again.json()["id"]) == (200, first["id"])


def test_each_user_has_a_limit_of_their_own(limited):
    for role in ("op", "admin"):
        with limited.client(role) as client:
            assert [start(client, key).status_code for key in "abc"] == [202, 202, 429]


def test_runs_of_a_schedule_count_for_nobody(limited, server):
    for number in range(5):
        limited.services.runs.open_run(
            RunRequest(application="hello.py"),
            application_sha256="",
            dag_id="job__hello",
            dag_run_id=f"scheduled__{number}",
            task_id="run",
            principal="airflow",
            now=limited.services.now(),
        )
    with limited.client() as client:
        assert start(client, "a").status_code == 202


def test_of_many_requests_at_once_no_more_pass_than_there_is_room_for(limited, database):
    def post(number: int) -> int:
        with limited.client() as client:
            return start(client, str(number)).status_code

    with ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(post, range(24))) == [202] * 2 + [429] * 22
    assert rows(database) == len(limited.airflow.runs) == 2


def test_what_airflow_refuses_takes_no_place(limited):
    limited.airflow.fail_with = 400
    with limited.client() as client:
        for key in "abc":
            assert start(client, key).status_code == 422
        limited.airflow.fail_with = None
        assert start(client, "d").status_code == 202


def test_a_stream_too_many_is_429_and_one_that_is_left_makes_room(limited):
    with limited.client() as client, ExitStack() as streams:
        run = start(client, "a").json()["id"]

        def follow(what: str = "logs"):
            path, headers = f"/api/v1/runs/{run}/{what}", {"Accept": "text/event-stream"}
            return client.stream("GET", path, headers=headers)

        opened = [streams.enter_context(follow(what)) for what in ("logs", "events")]
        assert [answer.status_code for answer in opened] == [200, 200]
        with follow() as third:
            third.read()
            assert (third.status_code, third.json()["code"]) == (429, "limit-reached")
            assert third.headers["content-type"] == "application/problem+json"
            assert int(third.headers["retry-after"]) >= 1
        assert client.get(f"/api/v1/runs/{run}/logs").status_code == 200, "pages are no streams"
        with limited.client("op") as other:
            path, headers = f"/api/v1/runs/{run}/logs", {"Accept": "text/event-stream"}
            with other.stream("GET", path, headers=headers) as answer:
                assert answer.status_code == 200, "each user has places of their own"
        client.post(f"/api/v1/runs/{run}:cancel")
        for answer in opened:
            answer.read()  # to its end
        with follow() as after:
            assert after.status_code == 200
        deadline = time.monotonic() + 10  # the server hears a little later that somebody has left
        while True:
            with follow("logs") as one, follow("events") as two:
                if one.status_code == two.status_code == 200:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_thousand_requests_of_eight_clients_with_one_key_start_one_run(server, database):
    def client_of_many(_: int) -> list[tuple[int, str]]:
        with server.client() as client:
            answers = [
                client.post("/api/v1/jobs/hello/runs", json={}, headers={"Idempotency-Key": "k"})
                for _ in range(125)
            ]
        return [(answer.status_code, answer.json()["id"]) for answer in answers]

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for part in pool.map(client_of_many, range(8)) for answer in part]
    assert sorted(status for status, _ in answers) == [200] * 999 + [202]
    assert len({run for _, run in answers}) == rows(database) == len(server.airflow.runs) == 1
    assert len(server.airflow.credentials) <= 8, "only requests that overlapped the first ask again"
