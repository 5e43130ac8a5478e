"""Changing a run that is there: cancelling it, and starting the same again."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest

from dataharbour.jobs.model import Detail, Failure, FailureClass, RunRequest

ONE_OFF = {"application": "hello.py", "args": ["a b"], "backend": "local"}


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def runs(server):
    return server.services.runs


@pytest.fixture
def run(admin):
    return admin.post("/api/v1/runs", json=ONE_OFF).json()


@pytest.fixture
def running(runs, run, driver_database):
    """The run, with a driver that has begun."""
    grant = runs.start_attempt(run["id"], backend="local", now=now())
    with psycopg.connect(driver_database) as driver:
        driver.execute("select driver.claim(%s, %s, 'h')", [grant.attempt_id, grant.token])
    return run


def fail(runs, run) -> None:
    reason = Failure(FailureClass.USER_ERROR, "ValueError: x")
    runs.finish(run["id"], detail=Detail.FAILED, failure=reason, now=now())


def cancel(client, run, **options):
    return client.post(f"/api/v1/runs/{run['id']}:cancel", **options)


def retry(client, run, **options):
    return client.post(f"/api/v1/runs/{run['id']}:retry", **options)


# --- cancel ----------------------------------------------------------------------------------


def test_a_run_that_waits_is_cancelled_at_once(admin, run):
    answer = cancel(admin, run)
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["desired"]) == ("CANCELLED", "CANCELLED")
    assert cancel(admin, run).json() == answer.json()


def test_a_run_with_a_driver_is_being_cancelled(admin, runs, running):
    answer = cancel(admin, running, json={"grace_s": 30})
    assert (answer.json()["state"], answer.json()["detail"]) == ("RUNNING", "CANCELLING")
    assert answer.headers["etag"] == admin.get(f"/api/v1/runs/{running['id']}").headers["etag"]


def test_the_answer_to_a_cancel_says_where_and_when_to_look(admin, running):
    answer = cancel(admin, running)
    assert answer.headers["location"] == running["links"]["self"]
    assert int(answer.headers["retry-after"]) >= 1


def test_the_driver_hears_how_long_it_has(admin, runs, run, driver_database):
    grant = runs.start_attempt(run["id"], backend="local", now=now())
    with psycopg.connect(driver_database, autocommit=True) as driver:
        own = [grant.attempt_id, grant.token]
        driver.execute("select driver.claim(%s, %s, 'h')", own)
        cancel(admin, run, json={"grace_s": 0.5})
        assert driver.execute("select driver.renew(%s, %s)", own).fetchone() == ("CANCELLED 0.5",)


def test_the_events_name_who_cancelled(admin, runs, run):
    cancel(admin, run)
    [event] = [e for e in runs.events(run["id"]) if e.new == "CANCELLED"]
    assert event.actor == "user:admin"


def test_a_run_that_has_ended_is_not_cancelled(admin, runs, running):
    fail(runs, running)
    answer = cancel(admin, running)
    assert answer.status_code == 409
    assert "is FAILED" in answer.json()["detail"]


def test_a_run_that_is_being_published_is_not_cancelled(admin, runs, running):
    runs.finalizing(running["id"], now())
    answer = cancel(admin, running)
    assert answer.status_code == 409
    assert "FINALIZING" in answer.json()["detail"]


def test_if_match_refuses_what_the_caller_has_not_seen(admin, run):
    stale = cancel(admin, run, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")
    seen = admin.get(f"/api/v1/runs/{run['id']}").headers["etag"]
    assert cancel(admin, run, headers={"If-Match": seen}).status_code == 202


@pytest.mark.parametrize("value", ["*", '"2"', '"x", "2"', '"1", "2-00000000"'])
def test_if_match_may_be_written_in_several_ways(admin, run, value):
    assert cancel(admin, run, headers={"If-Match": value}).status_code == 202


@pytest.mark.parametrize("value", ['W/"2"', '"1", "3"', '"-1"', '"x"', '"99999999999999999999"'])
def test_an_etag_that_is_not_the_runs_is_stale(admin, run, value):
    answer = cancel(admin, run, headers={"If-Match": value})
    assert (answer.status_code, answer.json()["code"]) == (412, "stale")
    assert "version 2" in answer.json()["detail"]


def test_a_cancel_that_is_repeated_with_its_if_match_is_answered_again(admin, running):
    seen = {"If-Match": admin.get(f"/api/v1/runs/{running['id']}").headers["etag"]}
    first = cancel(admin, running, headers=seen)
    again = cancel(admin, running, headers=seen)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()


@pytest.mark.parametrize("value", ["x", "2", '"1" "2"', '"'])
def test_an_if_match_that_is_none_is_refused(admin, run, value):
    assert cancel(admin, run, headers={"If-Match": value}).status_code == 422


@pytest.mark.parametrize(
    "body", [{"grace_s": -1}, {"grace_s": 601}, {"grace": 1}, {"grace_s": "x"}]
)
def test_a_wrong_grace_is_refused(admin, run, body):
    assert cancel(admin, run, json=body).status_code == 422
    assert admin.get(f"/api/v1/runs/{run['id']}").json()["state"] == "QUEUED"


def test_who_may_not_start_may_not_cancel_or_retry(server, run):
    with server.client("viewer") as client:
        assert cancel(client, run).status_code == 403
        assert retry(client, run).status_code == 403


def test_a_user_cancels_runs_of_jobs_and_op_those_of_any_application(server, admin, run):
    of_a_job = admin.post("/api/v1/jobs/hello/runs", json={}).json()
    with server.client("user") as client:
        assert cancel(client, of_a_job).status_code == 202
        assert cancel(client, run).status_code == 403
    with server.client("op") as client:
        assert cancel(client, run).status_code == 202


def test_a_foreign_run_is_not_there(server, run):
    server.roles.hidden.add("spark_job")
    with server.client("op") as client:
        for call in (cancel, retry):
            assert call(client, run).status_code == 404
            assert call(client, {"id": uuid4()}).status_code == 404
            assert call(client, {"id": "x"}).status_code == 404


def test_a_page_of_another_site_cannot_cancel(server, run):
    with server.client(None, cookies={"_token": "admin"}) as browser:
        answer = cancel(browser, run, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


# --- retry -----------------------------------------------------------------------------------


def test_a_failed_run_is_started_again_as_it_was(admin, server, runs, running):
    fail(runs, running)
    answer = retry(admin, running)
    again = answer.json()
    assert answer.status_code == 202
    assert again["id"] != running["id"]
    assert runs.get(again["id"]).retry_of == runs.get(running["id"]).id
    assert runs.get(again["id"]).args == ("a b",)
    assert again["links"]["retry_of"] == running["links"]["self"]
    assert server.airflow.runs["spark_job", again["dag_run_id"]]["args"] == ["a b"]


def test_a_declared_job_keeps_its_params(admin, server, runs):
    run = admin.post("/api/v1/jobs/hello/runs", json={"params": {"who": "you"}}).json()
    cancel(admin, run)
    again = retry(admin, run).json()
    assert (again["job"], runs.get(again["id"]).params) == ("hello", {"who": "you"})
    assert server.airflow.runs["job__hello", again["dag_run_id"]] == {"who": "you"}


def test_the_same_key_retries_once(admin, run):
    cancel(admin, run)
    first = retry(admin, run, headers={"Idempotency-Key": "k"})
    second = retry(admin, run, headers={"Idempotency-Key": "k"})
    assert (first.status_code, second.status_code) == (202, 200)
    assert second.headers["idempotency-replayed"] == "true"
    assert first.json()["id"] == second.json()["id"]


def test_a_retry_of_another_version_than_the_one_that_was_read_is_refused(admin, server, run):
    seen = {"If-Match": admin.get(f"/api/v1/runs/{run['id']}").headers["etag"]}
    cancel(admin, run)
    stale = retry(admin, run, headers=seen)
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")
    assert len(server.airflow.runs) == 1
    seen = {"If-Match": admin.get(f"/api/v1/runs/{run['id']}").headers["etag"]}
    assert retry(admin, run, headers=seen).status_code == 202


def test_a_retry_that_is_repeated_with_its_if_match_is_answered_again(admin, run):
    cancel(admin, run)
    headers = {"Idempotency-Key": "k", "If-Match": '"3"'}
    assert [retry(admin, run, headers=headers).status_code for _ in range(2)] == [202, 200]
    assert retry(admin, run, headers=headers | {"If-Match": '"2"'}).status_code == 200
    assert retry(admin, run, headers={"If-Match": "3"}).status_code == 422


def test_only_what_has_failed_is_retried(admin, runs, running):
    answer = retry(admin, running)
    assert answer.status_code == 409
    runs.finalizing(running["id"], now())
    runs.finish(running["id"], detail=Detail.SUCCEEDED, now=now())
    assert retry(admin, running).status_code == 409


def test_a_one_off_run_is_retried_by_op_alone(server, admin, run):
    cancel(admin, run)
    with server.client("user") as client:
        assert retry(client, run).status_code == 403


def test_a_run_of_somebodys_own_dag_is_cleared_in_airflow(admin, server, runs):
    server.roles.hidden.clear()
    run = runs.open_run(
        RunRequest(application="hello.py", backend="local"),
        application_sha256="",
        dag_id="their_dag",
        dag_run_id="manual__1",
        task_id="spark",
        principal="ana",
        now=now(),
    )
    cancel(admin, {"id": run.id})
    answer = retry(admin, {"id": run.id})
    assert answer.status_code == 409
    assert "Clear its task" in answer.json()["remedy"]
