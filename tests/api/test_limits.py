"""How much one user may ask for at once: open runs, event streams; and one run for one key."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from uuid import UUID

import httpx
import psycopg
import pytest

from dataharbour.api.routes import runs
from dataharbour.jobs.model import Detail, RunRequest
from dataharbour.jobs.store import RunStore

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


def repairable(limited, dag_run_id: str) -> str:
    """A run of a schedule that has failed."""
    runs, now = limited.services.runs, limited.services.now
    run = runs.open_run(
        RunRequest(application="hello.py"),
        application_sha256="",
        dag_id="job__hello",
        dag_run_id=dag_run_id,
        task_id="run",
        principal="airflow",
        now=now(),
    )
    runs.finish(run.id, detail=Detail.FAILED, now=now())
    limited.airflow.failed["job__hello", dag_run_id] = {("run", -1)}
    return str(run.id)


def test_a_repair_too_many_is_429_and_leaves_all_as_it_was(limited):
    first, second, third = (repairable(limited, f"scheduled__{n}") for n in range(3))
    with limited.client() as client:
        start(client, "a")
        key = {"Idempotency-Key": "k"}
        made = client.post(f"/api/v1/runs/{first}:repair", headers=key)
        assert made.status_code == 202, "the second run of two"
        answer = client.post(f"/api/v1/runs/{second}:repair")
        assert (answer.status_code, answer.json()["code"]) == (429, "limit-reached")
        assert "'admin' has 2 runs" in answer.json()["detail"]
        assert start(client, "b").status_code == 429, "a repair of another's run counts, too"
        again = client.post(f"/api/v1/runs/{first}:repair", headers=key)
        assert (again.status_code, again.json()["id"]) == (200, made.json()["id"])
        with limited.client("op") as other:
            assert other.post(f"/api/v1/runs/{third}:repair").status_code == 202
        client.post(f"/api/v1/runs/{made.json()['id']}:cancel")
        assert client.post(f"/api/v1/runs/{second}:repair").status_code == 202
    assert len(limited.airflow.cleared) == 3
    assert [len(limited.services.runs.repairs(run)) for run in (first, second, third)] == [2, 2, 2]


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


def test_waiting_requests_and_streams_share_their_places(limited):
    with limited.client() as client, ThreadPoolExecutor(2) as pool:
        run = start(client, "a").json()["id"]

        def wait(seconds: float, role: str = "admin"):
            with limited.client(role) as another:
                return another.get(f"/api/v1/runs/{run}", params={"wait": seconds})

        def places_taken() -> int:
            return limited.services.places.taken_by("admin")

        waiting = [pool.submit(wait, 20) for _ in range(2)]
        until(lambda: places_taken() == 2)
        refused = wait(20)
        assert (refused.status_code, refused.json()["code"]) == (429, "limit-reached")
        assert "max_streams_per_user" in refused.json()["remedy"]
        headers = {"Accept": "text/event-stream"}
        assert client.get(f"/api/v1/runs/{run}/logs", headers=headers).status_code == 429
        assert client.get(f"/api/v1/runs/{run}").status_code == 200, "who does not wait needs none"
        assert wait(0.1, "op").status_code == 200, "each user has places of their own"
        client.post(f"/api/v1/runs/{run}:cancel")
        assert [each.result().json()["state"] for each in waiting] == ["CANCELLED"] * 2
        assert places_taken() == 0


def test_who_leaves_while_waiting_makes_room(limited, monkeypatch):
    monkeypatch.setattr(runs, "LOOK_AGAIN_S", 0.2)
    with limited.client() as client:
        run = start(client, "a").json()["id"]
        with pytest.raises(httpx.ReadTimeout):
            client.get(f"/api/v1/runs/{run}", params={"wait": 30}, timeout=0.3)
        until(lambda: limited.services.places.taken_by("admin") == 0)


def test_others_are_answered_while_sixty_clients_wait_for_a_talkative_run(
    server, admin, driver, monkeypatch
):
    looks, get = [], RunStore.get

    def counted(store: RunStore, run_id: UUID):
        looks.append(run_id)
        return get(store, run_id)

    def wait(_: int):
        with server.client() as client:
            return client.get(f"/api/v1/runs/{driver.run_id}", params={"wait": "30s"})

    def ask() -> float:
        driver.write("a line")
        began = time.monotonic()
        assert admin.get("/api/v1/runs").status_code == 200
        return time.monotonic() - began

    alone = [ask() for _ in range(50)]
    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(wait, number) for number in range(60)]
        until(lambda: server.services.places.taken_by("admin") == 60)
        monkeypatch.setattr(RunStore, "get", counted)
        began = time.monotonic()
        beside = [ask() for _ in range(100)]
        by_themselves = 3 + (time.monotonic() - began) / runs.LOOK_AGAIN_S
        looked = len(looks)
        driver.finish()
        ended = [each.result() for each in waiting]
    assert {(answer.status_code, answer.json()["state"]) for answer in ended} == {
        (200, "SUCCEEDED")
    }
    assert looked <= 60 * by_themselves, "no line of the log has woken anybody"
    # Seconds, of the slowest twentieth; as long as it takes on this machine at this moment.
    assert sorted(beside)[95] < 0.2 + 5 * sorted(alone)[47]


def until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


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
