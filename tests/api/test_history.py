"""What happened to a run, over REST: events by page and as a stream, and attempts."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from dataharbour.jobs.model import Detail, Failure, FailureClass

from .conftest import events


def path(driver, part: str = "events") -> str:
    return f"/api/v1/runs/{driver.run_id}/{part}"


def stream(client, driver, **headers):
    headers = {"Accept": "text/event-stream", **headers}
    return client.stream("GET", path(driver), headers=headers)


def changes(told) -> list[str]:
    return [data["new"] for name, _, data in told if name == "change"]


def test_pages_of_events_follow_each_other_without_gap_or_repeat(admin, driver):
    driver.finish()
    whole = admin.get(path(driver)).json()
    assert whole["next"] is None
    seen, cursor = [], None
    for _ in range(20):
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = admin.get(path(driver), params=params).json()
        assert len(page["items"]) <= 2
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == whole["items"]
    assert len(seen) > 4


def test_while_the_run_goes_on_the_cursor_waits_for_what_follows(admin, driver):
    page = admin.get(path(driver)).json()
    assert page["next"] == str(page["items"][-1]["id"])
    nothing_yet = admin.get(path(driver), params={"cursor": page["next"]}).json()
    assert nothing_yet == {"items": [], "next": page["next"]}
    driver.finish()
    news = admin.get(path(driver), params={"cursor": page["next"]}).json()
    told = [e["new"] for e in news["items"] if e["kind"] == "run.changed"]
    assert told == ["FINALIZING", "SUCCEEDED"]
    assert news["next"] is None


def test_the_stream_of_a_run_that_is_forgotten_ends(admin, database, caplog):
    run = admin.post("/api/v1/runs", json={"application": "hello.py"}).json()
    address = f"/api/v1/runs/{run['id']}/events"
    with admin.stream("GET", address, headers={"Accept": "text/event-stream"}) as answer:
        told = events(answer)
        assert next(told)[0] == "change"
        with psycopg.connect(database) as connection:
            connection.execute("delete from public.run where id = %s", [run["id"]])
        assert "end" not in [name for name, _, _ in told]
    assert "Traceback" not in caplog.text
    assert admin.get(address).status_code == 404


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "9" * 30])
@pytest.mark.parametrize("headers", [{}, {"Accept": "text/event-stream"}])
def test_a_position_that_was_never_given_is_refused(admin, driver, cursor, headers):
    answer = admin.get(path(driver), params={"cursor": cursor}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "config")


def test_a_change_of_state_reaches_the_stream_within_a_second(admin, driver):
    asked: dict[str, float] = {}

    def work() -> None:
        time.sleep(0.5)
        asked["at"] = time.monotonic()
        driver.finish()

    worker = threading.Thread(target=work)
    told = []
    with stream(admin, driver) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        worker.start()
        for each in events(answer):
            told.append(each)
            if each[0] == "change" and each[2]["new"] == "SUCCEEDED":
                seen_at = time.monotonic()
    worker.join()
    assert seen_at - asked["at"] < 1.0
    assert told[-1] == ("end", "end", {})
    positions = [int(at) for name, at, _ in told if name == "change"]
    assert positions == sorted(set(positions))
    assert changes(told)[-2:] == ["FINALIZING", "SUCCEEDED"]


def test_a_broken_stream_goes_on_after_the_last_event(admin, driver):
    with stream(admin, driver) as answer:
        first = next(events(answer))
    driver.finish()
    with stream(admin, driver, **{"Last-Event-ID": first[1]}) as answer:
        told = list(events(answer))
    whole = admin.get(path(driver)).json()["items"]
    assert [data for name, _, data in told if name == "change"] == whole[1:]


def test_a_stream_that_was_read_to_its_end_is_not_sent_again(admin, driver):
    driver.finish()
    with stream(admin, driver, **{"Last-Event-ID": "end"}) as answer:
        assert answer.status_code == 204


def test_an_attempt_shows_where_it_is_and_how_it_ended_and_no_token(admin, driver):
    driver.progress(stages_done=1, stages=2)
    driver.write("a", "b")
    [attempt] = admin.get(path(driver, "attempts")).json()["items"]
    assert attempt["id"] == str(driver.grant.attempt_id)
    assert (attempt["number"], attempt["backend"], attempt["state"]) == (1, "local", "RUNNING")
    assert (attempt["holder"], attempt["log_lines"]) == ("test", 2)
    assert attempt["progress"] == {"stages_done": 1, "stages": 2}
    assert attempt["claimed_at"] < attempt["lease_until"]
    assert attempt["ended_at"] is attempt["failure"] is None
    assert "token" not in str(attempt)
    driver.fail("ValueError: x")
    [ended] = admin.get(path(driver, "attempts")).json()["items"]
    assert (ended["state"], ended["exit_code"]) == ("FAILED", 1)
    assert ended["failure"] == {"class": "USER_ERROR", "message": "ValueError: x"}
    assert ended["lease_until"] is None


def test_attempts_are_listed_oldest_first(server, admin, driver):
    driver.fail("ValueError: x")
    runs, run_id = server.services.runs, driver.grant.run_id
    reason = Failure(FailureClass.USER_ERROR, "ValueError: x")
    runs.finish(run_id, detail=Detail.RETRY_WAIT, failure=reason, now=driver.now())
    runs.start_attempt(run_id, backend="local", now=driver.now())
    items = admin.get(path(driver, "attempts")).json()["items"]
    assert [(a["number"], a["state"]) for a in items] == [(1, "FAILED"), (2, "SUBMITTING")]
