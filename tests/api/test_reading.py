"""Looking at jobs and runs: lists, filters, pages, one run, its events, waiting for its end."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from dataharbour.api.routes import runs
from dataharbour.jobs.model import Detail, Failure, FailureClass, RunRequest

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def start(server, *, job: str | None = None, dag_id: str | None = None, **changes) -> str:
    """A run as a task of Airflow opens it; its id."""
    request = RunRequest(application="hello.py", job=job, **changes)
    run = server.services.runs.open_run(
        request,
        application_sha256="0" * 64,
        dag_id=dag_id or (f"job__{job}" if job else "spark_job"),
        dag_run_id=uuid4().hex,
        task_id="run",
        principal="ada",
        now=NOW,
    )
    return str(run.id)


def finish(server, run_id: str, detail: Detail, failure: Failure | None = None) -> None:
    server.services.runs.finish(run_id, detail=detail, failure=failure, now=NOW)


def ids(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_an_empty_list_is_a_list(admin):
    assert admin.get("/api/v1/runs").json() == {"items": [], "next": None}


def test_runs_are_listed_newest_first(server, admin):
    started = [start(server) for _ in range(3)]
    assert ids(admin.get("/api/v1/runs")) == started[::-1]


def test_pages_follow_each_other_without_gap_or_repeat(server, admin):
    started = [start(server) for _ in range(5)]
    seen, cursor = [], None
    for _ in range(10):
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = admin.get("/api/v1/runs", params=params).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == started[::-1]


def test_runs_are_filtered_by_state_job_and_labels(server, admin):
    plain = start(server)
    labelled = start(server, job="hello", labels={"team": "ops", "day": "monday"})
    ended = start(server, labels={"team": "ops"})
    finish(server, ended, Detail.FAILED, Failure(FailureClass.USER_ERROR, "boom"))

    def listed(query: str) -> set[str]:
        return set(ids(admin.get(f"/api/v1/runs?{query}")))

    assert listed("state=FAILED") == {ended}
    assert listed("state=QUEUED") == {plain, labelled}
    assert listed("job=hello") == {labelled}
    assert listed("label=team=ops") == {labelled, ended}
    assert listed("label=team=ops&label=day=monday") == {labelled}
    assert listed("label=team=ops&state=FAILED") == {ended}
    assert listed("label=team=nobody") == set()
    assert set(ids(admin.get("/api/v1/jobs/hello/runs"))) == {labelled}
    assert set(ids(admin.get("/api/v1/jobs/hello/runs?label=team=nobody"))) == set()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("limit=0", "greater than or equal to 1"),
        ("limit=1001", "less than or equal to 1000"),
        ("limit=many", "limit"),
        ("state=SLEEPING", "'QUEUED'"),
        ("label=team", "NAME=VALUE"),
        ("label=%00=x", "NUL"),
        ("cursor=nonsense", "nonsense"),
    ],
)
def test_a_wrong_filter_says_what_would_be_right(admin, query, names):
    answer = admin.get(f"/api/v1/runs?{query}")
    assert answer.status_code == 422
    assert names in answer.json()["detail"]
    assert answer.json()["remedy"]


def test_a_run_shows_how_it_failed(server, admin):
    run_id = start(server, labels={"team": "ops"})
    finish(server, run_id, Detail.FAILED, Failure(FailureClass.OUT_OF_MEMORY, "Java heap space"))
    answer = admin.get(f"/api/v1/runs/{run_id}")
    run = answer.json()
    assert (run["state"], run["detail"]) == ("FAILED", "FAILED")
    assert run["failure"] == {"class": "OUT_OF_MEMORY", "message": "Java heap space"}
    assert run["ended_at"] == "2026-11-23T12:00:00Z"
    assert run["started_at"] is run["duration_s"] is None
    assert answer.headers["etag"].startswith('"2-')


@pytest.mark.parametrize("path", ["", "/logs", "/events", "/attempts", "/repairs", "/artifacts"])
@pytest.mark.parametrize("run_id", [str(UUID(int=7)), "nonsense", "0", "%00", "a" * 3000])
def test_a_run_that_is_not_there_is_404(admin, path, run_id):
    answer = admin.get(f"/api/v1/runs/{run_id}{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "run-not-found")


@pytest.mark.parametrize("path", ["", "/logs", "/events", "/attempts", "/repairs", "/artifacts"])
def test_somebody_elses_run_looks_like_one_that_is_not_there(server, path):
    run_id, nowhere = start(server, job="hello"), str(uuid4())
    server.roles.hidden.add("job__hello")
    with server.client("op") as client:
        theirs = client.get(f"/api/v1/runs/{run_id}{path}")
        none = client.get(f"/api/v1/runs/{nowhere}{path}")
        assert ids(client.get("/api/v1/runs")) == []
        assert client.get("/api/v1/jobs/hello/runs").status_code == 404
    assert theirs.status_code == none.status_code == 404
    assert theirs.json()["detail"].replace(run_id, nowhere) == none.json()["detail"]
    with server.client("admin") as client:
        assert client.get(f"/api/v1/runs/{run_id}{path}").status_code == 200


def test_a_job_that_runs_in_a_hidden_dag_too_shows_only_the_other_runs(server):
    shown, hidden = start(server, job="hello"), start(server, job="hello", dag_id="job__flights")
    server.roles.hidden.add("job__flights")
    with server.client("op") as client:
        assert ids(client.get("/api/v1/jobs/hello/runs")) == [shown]
    with server.client("admin") as client:
        assert ids(client.get("/api/v1/jobs/hello/runs")) == [hidden, shown]


def test_the_events_tell_the_story_in_order(server, admin):
    run_id = start(server)
    server.services.runs.start_attempt(run_id, backend="local", now=NOW)
    finish(server, run_id, Detail.CANCELLED)
    events = admin.get(f"/api/v1/runs/{run_id}/events").json()
    told = [e["new"] for e in events["items"] if e["kind"] == "run.changed"]
    assert told == ["QUEUED", "SUBMITTING", "CANCELLED"]
    assert events["next"] is None


def test_waiting_ends_when_the_run_does(server, admin):
    run_id = start(server)
    timer = threading.Timer(0.3, finish, [server, run_id, Detail.CANCELLED])
    timer.start()
    began = time.monotonic()
    run = admin.get(f"/api/v1/runs/{run_id}?wait=20").json()
    timer.join()
    assert run["state"] == "CANCELLED"
    assert 0.25 < time.monotonic() - began < 1.5, "a poll every 2 s would be later"


def test_waiting_ends_when_the_time_is_over(server, admin):
    run_id = start(server)
    began = time.monotonic()
    assert admin.get(f"/api/v1/runs/{run_id}?wait=0.4").json()["state"] == "QUEUED"
    assert 0.4 <= time.monotonic() - began < 2


def test_to_wait_for_a_run_that_has_ended_takes_no_time(server, admin):
    run_id = start(server)
    finish(server, run_id, Detail.CANCELLED)
    began = time.monotonic()
    admin.get(f"/api/v1/runs/{run_id}?wait=20")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("wait", ["20s", "20", "20.5s", "90s", "3600"])
def test_a_wait_is_seconds_with_or_without_their_unit_and_ends_early(server, admin, wait):
    run_id = start(server)
    timer = threading.Timer(0.3, finish, [server, run_id, Detail.CANCELLED])
    timer.start()
    began = time.monotonic()
    assert admin.get(f"/api/v1/runs/{run_id}?wait={wait}").json()["state"] == "CANCELLED"
    timer.join()
    assert time.monotonic() - began < 2


def test_nobody_waits_longer_than_a_minute(server, admin, monkeypatch):
    monkeypatch.setattr(runs, "MAX_WAIT_S", 0.3)
    began = time.monotonic()
    assert admin.get(f"/api/v1/runs/{start(server)}?wait=3600s").json()["state"] == "QUEUED"
    assert 0.3 <= time.monotonic() - began < 2


@pytest.mark.parametrize("wait", ["-1", "-1s", "long", "30m", "s", "nan", "inf", "30 s x"])
def test_a_wait_that_is_no_number_of_seconds_is_refused(server, admin, wait):
    assert admin.get(f"/api/v1/runs/{start(server)}?wait={wait}").status_code == 422


def test_a_run_shows_how_far_its_driver_is(admin, driver):
    path = f"/api/v1/runs/{driver.run_id}"
    before = admin.get(path)
    assert before.json()["progress"] is None
    driver.progress(stages_done=1, stages=4, tasks_done=9, tasks=40)
    after = admin.get(path)
    assert after.json()["progress"]["tasks_done"] == 9
    assert after.headers["etag"] != before.headers["etag"], "what is shown has changed"
    matched = {"If-Match": before.headers["etag"]}
    cancelled = admin.post(f"{path}:cancel", headers=matched)
    assert cancelled.status_code == 202, "its state has not"


def test_a_run_that_the_caller_has_already_is_not_sent_again(server, admin):
    path = f"/api/v1/runs/{(run_id := start(server))}"
    tag = admin.get(path).headers["etag"]
    for known in (tag, f'"x", {tag}', f"W/{tag}", "*"):
        answer = admin.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
    finish(server, run_id, Detail.CANCELLED)
    news = admin.get(path, headers={"If-None-Match": tag})
    assert (news.status_code, news.json()["state"]) == (200, "CANCELLED")


def test_a_wait_for_news_of_a_known_run_ends_with_304_where_there_are_none(server, admin):
    path = f"/api/v1/runs/{start(server)}"
    known = {"If-None-Match": admin.get(path).headers["etag"]}
    assert admin.get(f"{path}?wait=0.2s", headers=known).status_code == 304


def test_the_jobs_are_listed_with_what_is_wrong_with_the_broken_ones(admin, settings):
    (settings.include_dir / "jobs" / "broken.yaml").write_text("application: [")
    jobs = {job["name"]: job for job in admin.get("/api/v1/jobs").json()["items"]}
    assert list(jobs) == ["broken", "hello"]
    assert jobs["hello"]["error"] is None
    assert jobs["hello"]["params"] == {"who": {"type": "string", "default": "world"}}
    assert jobs["hello"]["dag_id"] == "job__hello"
    assert jobs["broken"]["error"]["code"] == "job-invalid"
    assert "broken.yaml" in jobs["broken"]["error"]["detail"]
    assert jobs["broken"]["application"] is None


def test_a_job_shows_its_declaration(admin):
    job = admin.get("/api/v1/jobs/hello").json()
    assert (job["application"], job["backend"], job["labels"]) == (
        "hello.py",
        "local",
        {"team": "greeting"},
    )
    assert job["links"]["runs"] == "/dataharbour/api/v1/jobs/hello/runs"
    assert job["links"]["airflow"] == "/dags/job__hello"


def test_a_job_that_the_caller_may_not_see_is_not_listed(server):
    server.roles.hidden.add("job__hello")
    with server.client("op") as client:
        assert client.get("/api/v1/jobs").json()["items"] == []
        assert client.get("/api/v1/jobs/hello").status_code == 404


def test_everybody_who_is_signed_in_may_read(server):
    run_id = start(server)
    with server.client("viewer") as client:
        for path in ("jobs", "jobs/hello", "runs", f"runs/{run_id}", f"runs/{run_id}/logs"):
            assert client.get(f"/api/v1/{path}").status_code == 200, path


def test_runs_are_narrowed_by_user_and_time(server, admin):
    first = admin.post("/api/v1/runs", json={"application": "hello.py"}).json()
    with server.client("op") as op:
        second = op.post("/api/v1/runs", json={"application": "hello.py"}).json()

    def listed(**params):
        answer = admin.get("/api/v1/runs", params=params)
        assert answer.status_code == 200, answer.text
        return [run["id"] for run in answer.json()["items"]]

    assert listed(user="op") == [second["id"]]
    assert listed(since=second["created_at"]) == [second["id"]]
    assert listed(until=second["created_at"]) == [first["id"]]
    assert listed(user="op", until=second["created_at"]) == []


@pytest.mark.parametrize("query", ["since=yesterday", "until=2026-01-01T00:00:00"])
def test_a_time_without_its_zone_is_refused(admin, query):
    assert admin.get(f"/api/v1/runs?{query}").status_code == 422
