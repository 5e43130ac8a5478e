"""Accepting a run: what is checked, what is kept, what a repeated request gets."""

from __future__ import annotations

import asyncio
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
import pytest

from dataharbour.api import accept
from dataharbour.jobs.model import Detail

ONE_OFF = {
    "application": "hello.py",
    "args": ["--lake", "{lake}"],
    "conf": {"spark.sql.shuffle.partitions": 4, "spark.sql.ansi.enabled": True},
    "backend": "local",
    "labels": {"team": "ops"},
}


def rows(database: str) -> list[tuple]:
    with psycopg.connect(database) as connection:
        return connection.execute("select detail, dag_run_id from public.run").fetchall()


def test_a_one_off_run_is_accepted_and_started_with_the_callers_token(server, admin):
    answer = admin.post("/api/v1/runs", json=ONE_OFF)
    run = answer.json()
    assert answer.status_code == 202
    assert (run["state"], run["detail"], run["desired"]) == ("QUEUED", "QUEUED", "SUCCEEDED")
    assert (run["job"], run["dag_id"], run["backend"]) == (None, "spark_job", "local")
    assert re.fullmatch(r"api__[0-9a-f]{32}", run["dag_run_id"])
    assert server.airflow.credentials == ["Bearer admin"]
    assert server.airflow.runs["spark_job", run["dag_run_id"]] == {
        **ONE_OFF,
        "conf": {"spark.sql.shuffle.partitions": "4", "spark.sql.ansi.enabled": "true"},
        "profile": "short",
        "timeout_s": None,
    }


def test_the_answer_says_where_to_look_and_how_to_repeat(admin):
    answer = admin.post("/api/v1/runs", json=ONE_OFF)
    run = answer.json()
    assert answer.headers["location"] == run["links"]["self"]
    assert run["links"]["self"] == f"/dataharbour/api/v1/runs/{run['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    key = answer.headers["idempotency-key"]
    again = admin.post("/api/v1/runs", json=ONE_OFF, headers={"Idempotency-Key": key})
    assert again.json()["id"] == run["id"]


def test_the_etag_of_the_answer_is_for_changes_and_the_get_has_its_own_while_it_tells_why_it_waits(
    admin,
):
    answer = admin.post("/api/v1/runs", json=ONE_OFF)
    path, seen = answer.json()["links"]["self"].removeprefix("/dataharbour"), answer.headers["etag"]
    shown = admin.get(path, headers={"If-None-Match": seen})
    assert shown.status_code == 200
    assert (answer.json()["queue"], shown.json()["queue"]["reason"]) == (None, "unknown")
    cancelled = admin.post(f"{path}:cancel", headers={"If-Match": seen})
    assert cancelled.status_code == 202
    again = admin.post(
        "/api/v1/runs",
        json=ONE_OFF,
        headers={"Idempotency-Key": answer.headers["idempotency-key"]},
    )
    get = admin.get(path)
    assert get.headers["etag"] == again.headers["etag"] == cancelled.headers["etag"] != seen


def test_the_run_has_exactly_the_fields_of_a_run(admin):
    run = admin.post("/api/v1/runs", json=ONE_OFF).json()
    assert list(run) == [
        "id",
        "job",
        "application",
        "backend",
        "state",
        "detail",
        "desired",
        "attempt",
        "dag_id",
        "dag_run_id",
        "created_at",
        "started_at",
        "ended_at",
        "duration_s",
        "failure",
        "progress",
        "metrics",
        "occasion",
        "queue",
        "labels",
        "links",
    ]
    assert run["created_at"].endswith("Z")


def test_a_run_of_a_job_has_its_parameters_and_labels(server, admin):
    body = {"params": {"who": "ada"}, "labels": {"day": "monday"}}
    run = admin.post("/api/v1/jobs/hello/runs", json=body).json()
    assert (run["job"], run["dag_id"]) == ("hello", "job__hello")
    assert run["labels"] == {"team": "greeting", "day": "monday"}
    assert server.airflow.runs["job__hello", run["dag_run_id"]] == {"who": "ada"}
    kept = server.services.runs.get(run["id"])
    assert kept.params == {"who": "ada"}
    assert kept.principal == "admin"


def test_the_application_is_pinned_by_its_hash(server, admin, settings):
    run = admin.post("/api/v1/runs", json=ONE_OFF).json()
    content = (settings.applications[0] / "hello.py").read_bytes()
    kept = server.services.runs.get(run["id"])
    assert kept.application_sha256 == hashlib.sha256(content).hexdigest()


def test_the_login_cookie_becomes_a_bearer_token_for_airflow(server):
    with server.client(None, cookies={"_token": "op"}) as client:
        assert client.post("/api/v1/runs", json=ONE_OFF).status_code == 202
    assert server.airflow.credentials == ["Bearer op"]


def test_the_same_key_and_body_is_the_same_run(server, admin, database):
    first, *others = [
        admin.post("/api/v1/runs", json=ONE_OFF, headers={"Idempotency-Key": "k"}) for _ in range(3)
    ]
    assert first.status_code == 202
    assert "idempotency-replayed" not in first.headers
    for other in others:
        assert other.status_code == 200
        assert other.headers["idempotency-replayed"] == "true"
        assert other.json()["id"] == first.json()["id"]
    assert len(rows(database)) == len(server.airflow.runs) == 1
    assert len(server.airflow.credentials) == 1, "Airflow need not be asked again"


MEANWHILE = {
    "its job is broken": lambda job, _: job.write_text("application: ["),
    "its job is deleted": lambda job, _: job.unlink(),
    "its job has other parameters": lambda job, _: job.write_text(
        "description: Says nothing.\napplication: hello.py\nbackend: local\n"
    ),
    "its application is gone": lambda _, application: application.unlink(),
}


@pytest.mark.parametrize("happens", MEANWHILE.values(), ids=MEANWHILE)
def test_a_repeated_request_is_answered_whatever_has_happened_meanwhile(admin, settings, happens):
    key, path = {"Idempotency-Key": "k"}, "/api/v1/jobs/hello/runs"
    body = {"params": {"who": "ada"}}
    first = admin.post(path, json=body, headers=key)
    one_off = admin.post("/api/v1/runs", json=ONE_OFF, headers=key)
    admin.post(f"/api/v1/runs/{one_off.json()['id']}:cancel")
    again = admin.post(
        f"/api/v1/runs/{one_off.json()['id']}:retry", headers={"Idempotency-Key": "r"}
    )
    happens(settings.include_dir / "jobs" / "hello.yaml", settings.applications[0] / "hello.py")
    for answer, repeated in (
        (first, admin.post(path, json=body, headers=key)),
        (one_off, admin.post("/api/v1/runs", json=ONE_OFF, headers=key)),
        (again, admin.post(f"{again.request.url}", headers={"Idempotency-Key": "r"})),
    ):
        assert repeated.status_code == 200, repeated.text
        assert repeated.headers["idempotency-replayed"] == "true"
        assert repeated.json()["id"] == answer.json()["id"]
    other = admin.post(path, json={"params": {"nobody": 1}}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-conflict")
    with_new_key = admin.post(path, json={"params": {"nobody": 1}})
    assert with_new_key.status_code in (404, 409, 422)


def test_a_repeated_request_is_answered_to_who_may_start_it_alone(server, admin):
    key = {"Idempotency-Key": "k"}
    admin.post("/api/v1/jobs/hello/runs", json={}, headers=key)
    server.roles.lacking = {("GET", None)}
    hidden = admin.post("/api/v1/jobs/hello/runs", json={}, headers=key)
    assert (hidden.status_code, hidden.json()["code"]) == (404, "job-not-found")
    server.roles.lacking = {("POST", "RUN")}
    assert admin.post("/api/v1/jobs/hello/runs", json={}, headers=key).status_code == 403


def test_the_texts_of_a_request_are_searched_beside_the_event_loop(admin, monkeypatch):
    """A large request must not hold up all others."""
    in_the_loop = []

    def searched(original):
        def search(*args):
            with suppress(RuntimeError):
                in_the_loop.append(asyncio.get_running_loop())
            return original(*args)

        return search

    for name in ("check_request", "redact"):
        monkeypatch.setattr(accept, name, searched(getattr(accept, name)))
    assert admin.post("/api/v1/runs", json=ONE_OFF).status_code == 202
    assert in_the_loop == []


def test_the_same_key_with_another_body_is_refused(admin, database):
    key = {"Idempotency-Key": "k"}
    first = admin.post("/api/v1/runs", json=ONE_OFF, headers=key)
    other = admin.post("/api/v1/runs", json=ONE_OFF | {"args": []}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-conflict")
    assert first.json()["id"] in other.json()["detail"]
    assert len(rows(database)) == 1


def test_keys_of_different_people_never_meet(server, admin):
    key = {"Idempotency-Key": "k"}
    mine = admin.post("/api/v1/runs", json=ONE_OFF, headers=key).json()
    with server.client("op") as other:
        answer = other.post("/api/v1/runs", json=ONE_OFF | {"args": []}, headers=key)
    assert answer.status_code == 202
    assert answer.json()["id"] != mine["id"]


def test_the_same_key_for_another_job_is_another_run(admin):
    key = {"Idempotency-Key": "k"}
    one = admin.post("/api/v1/jobs/hello/runs", json={}, headers=key)
    other = admin.post("/api/v1/runs", json=ONE_OFF, headers=key)
    assert (one.status_code, other.status_code) == (202, 202)


def test_many_requests_with_one_key_at_once_start_one_run(server, database):
    def post(_: int) -> tuple[int, str]:
        with server.client("admin") as client:
            answer = client.post(
                "/api/v1/jobs/hello/runs", json={}, headers={"Idempotency-Key": "k"}
            )
        return answer.status_code, answer.json()["id"]

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(post, range(48)))
    assert sorted(status for status, _ in answers) == [200] * 47 + [202]
    assert len({run for _, run in answers}) == len(rows(database)) == 1
    assert len(server.airflow.runs) == 1


def test_more_requests_than_threads_do_not_wait_for_each_other(server):
    """The loop-back call must not hold the threads that Airflow answers from."""

    def post(number: int) -> int:
        with server.client("admin") as client:
            return client.post("/api/v1/jobs/hello/runs", json={}).status_code

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(post, range(100))) == [202] * 100


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_airflow_refuses_is_forgotten(server, admin, database, status):
    server.airflow.fail_with = status
    answer = admin.post("/api/v1/runs", json=ONE_OFF, headers={"Idempotency-Key": "k"})
    assert answer.status_code == {400: 422, 401: 401, 403: 403, 404: 503, 422: 422}[status]
    assert answer.headers["content-type"] == "application/problem+json"
    if status != 404:
        assert "as the test wants it" in answer.json()["detail"]
    assert rows(database) == []
    server.airflow.fail_with = None
    assert admin.post(
        "/api/v1/runs", json=ONE_OFF | {"args": []}, headers={"Idempotency-Key": "k"}
    ).is_success, "a key that was refused is free again"


def test_a_dag_that_airflow_has_not_parsed_is_a_matter_of_waiting(server, admin):
    server.airflow.dags.clear()
    answer = admin.post("/api/v1/jobs/hello/runs", json={})
    assert (answer.status_code, answer.json()["code"]) == (503, "dag-not-ready")
    assert "job__hello" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_request_that_airflow_did_not_answer_is_completed_by_the_same_key(
    server, admin, database, status
):
    key = {"Idempotency-Key": "k"}
    server.airflow.fail_with = status
    away = admin.post("/api/v1/runs", json=ONE_OFF, headers=key)
    assert (away.status_code, away.json()["code"]) == (503, "unavailable")
    assert "Idempotency-Key" in away.json()["remedy"]
    assert [detail for detail, _ in rows(database)] == ["ACCEPTED"]
    server.airflow.fail_with = None
    done = admin.post("/api/v1/runs", json=ONE_OFF, headers=key)
    assert done.is_success
    assert done.json()["detail"] == "QUEUED"
    assert len(server.airflow.runs) == len(rows(database)) == 1


def test_a_lost_answer_of_airflow_does_not_start_a_second_run(server, admin, database):
    key = {"Idempotency-Key": "k"}
    server.airflow.lose_the_answer = True
    assert admin.post("/api/v1/runs", json=ONE_OFF, headers=key).status_code == 503
    server.airflow.lose_the_answer = False
    done = admin.post("/api/v1/runs", json=ONE_OFF, headers=key)
    assert done.json()["detail"] == "QUEUED"
    assert len(server.airflow.runs) == len(rows(database)) == 1


def test_a_task_that_is_faster_than_our_answer_keeps_its_state(server, admin, monkeypatch):
    """Airflow may have started the task before the API writes QUEUED."""
    trigger = server.airflow.trigger

    def trigger_and_run(dag_id, body, credential):
        answer = trigger(dag_id, body, credential)
        runs = server.services.runs
        run = runs.find(dag_id=dag_id, dag_run_id=body["dag_run_id"])
        runs.start_attempt(run.id, backend="local", now=run.created_at)
        return answer

    monkeypatch.setattr(server.airflow, "trigger", trigger_and_run)
    answer = admin.post("/api/v1/runs", json=ONE_OFF)
    assert (answer.status_code, answer.json()["detail"]) == (202, Detail.SUBMITTING)


@pytest.mark.parametrize(
    ("change", "code", "names"),
    [
        ({"application": "nowhere.py"}, "application-not-found", "nowhere.py"),
        ({"application": "../outside.py"}, "application-not-allowed", "outside.py"),
        ({"application": "/etc/passwd"}, "application-not-allowed", "/etc/passwd"),
        ({"application": "http://x/a.py"}, "application-not-allowed", "http"),
        ({"conf": {"spark.jars": "x.jar"}}, "conf-not-allowed", "spark.jars"),
        ({"conf": {"spark.sql.shuffle.partitions": "0"}}, "conf-not-allowed", "'0'"),
        ({"args": ["{secret}"]}, "config", "{secret}"),
        ({"backend": "mesos"}, "invalid-request", "connect"),
        ({"color": "red"}, "invalid-request", "#/color"),
        ({"timeout_s": -1}, "invalid-request", "#/timeout_s"),
        ({"labels": {"Team!": "x"}}, "invalid-request", "#/labels"),
    ],
)
def test_bad_input_is_named_with_its_remedy_and_leaves_nothing(
    server, admin, database, change, code, names
):
    answer = admin.post("/api/v1/runs", json=ONE_OFF | change)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code)
    assert names in problem["detail"]
    assert problem["remedy"]
    assert rows(database) == []
    assert server.airflow.runs == {}


def test_every_bad_field_is_listed_and_no_value_is_repeated(admin):
    body = {"application": "", "backend": "secret-value", "args": "secret-value"}
    problem = admin.post("/api/v1/runs", json=body).json()
    pointers = {error["pointer"] for error in problem["errors"]}
    assert pointers == {"#/application", "#/backend", "#/args"}
    assert "secret-value" not in str(problem)


@pytest.mark.parametrize(("params", "names"), [({"nobody": 1}, "nobody"), ({"who": 3}, "who")])
def test_a_parameter_that_the_job_does_not_have_is_refused(admin, database, params, names):
    answer = admin.post("/api/v1/jobs/hello/runs", json={"params": params})
    assert (answer.status_code, answer.json()["code"]) == (422, "job-invalid")
    assert names in answer.json()["detail"]
    assert rows(database) == []


def test_an_unknown_job_is_404_and_a_broken_one_409(admin, settings):
    (settings.include_dir / "jobs" / "broken.yaml").write_text("application: [")
    unknown = admin.post("/api/v1/jobs/nowhere/runs", json={})
    broken = admin.post("/api/v1/jobs/broken/runs", json={})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "job-not-found")
    assert (broken.status_code, broken.json()["code"]) == (409, "job-broken")
    assert "broken.yaml" in broken.json()["detail"]


@pytest.mark.parametrize(
    ("role", "one_off", "job"),
    [("viewer", 403, 403), ("user", 403, 202), ("op", 202, 202), ("admin", 202, 202)],
)
def test_each_role_may_start_what_it_may_start(server, role, one_off, job):
    with server.client(role) as client:
        assert client.post("/api/v1/runs", json=ONE_OFF).status_code == one_off
        assert client.post("/api/v1/jobs/hello/runs", json={}).status_code == job


def test_who_may_not_is_told_what_is_missing(server, database):
    with server.client("user") as client:
        problem = client.post("/api/v1/runs", json=ONE_OFF).json()
    assert problem["code"] == "forbidden"
    assert "role op" in problem["detail"]
    assert rows(database) == []


def test_a_job_that_the_caller_may_not_see_does_not_exist(server, database):
    server.roles.hidden.add("job__hello")
    with server.client("op") as client:
        answer = client.post("/api/v1/jobs/hello/runs", json={})
        same = client.post("/api/v1/jobs/nowhere/runs", json={})
    assert answer.status_code == same.status_code == 404
    assert answer.json()["detail"].replace("hello", "nowhere") == same.json()["detail"]
    assert rows(database) == []


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä"])
def test_a_key_that_is_none_is_refused(admin, key):
    answer = admin.post("/api/v1/runs", json=ONE_OFF, headers={"Idempotency-Key": key.encode()})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "idempotency-key"


def test_a_body_over_the_limit_is_413_whether_announced_or_not(admin, database):
    large = b'{"application": "' + b"a" * 300_000 + b'"}'
    kind = {"Content-Type": "application/json"}
    announced = admin.post("/api/v1/runs", content=large, headers=kind)
    streamed = admin.post("/api/v1/runs", content=iter([large]), headers=kind)
    for answer in (announced, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert rows(database) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff"])
def test_a_body_that_is_no_object_is_refused(admin, content):
    answer = admin.post(
        "/api/v1/runs", content=content, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


def test_without_the_database_nothing_is_acknowledged(serve, settings):
    away = serve(settings, lambda: "host=127.0.0.1 port=1 dbname=x user=y")
    with away as server, server.client("admin") as client:
        answer = client.post("/api/v1/runs", json=ONE_OFF)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert server.airflow.runs == {}


def test_an_installation_without_settings_says_which(serve, settings, database):
    from dataharbour.errors import ConfigError

    running = serve(settings, lambda: database)

    def load():
        raise ConfigError("The option [dataharbour] home is not set.", "Set it.")

    object.__setattr__(running.server.services, "load_settings", load)
    with running as server, server.client("admin") as client:
        answer = client.get("/api/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (503, "not-configured")
    assert "[dataharbour] home" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 202),
        ({"Sec-Fetch-Site": "none"}, 202),
        ({}, 202),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_another_site_cannot_use_the_login_cookie(server, database, headers, status):
    with server.client(None, cookies={"_token": "admin"}, headers=headers) as browser:
        answer = browser.post("/api/v1/runs", json=ONE_OFF)
        reading = browser.get("/api/v1/runs")
    assert answer.status_code == status
    assert reading.status_code == 200
    assert len(rows(database)) == (status == 202)


def test_a_token_needs_no_origin(server):
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://tools.example"}
    with server.client("admin", headers=headers) as client:
        assert client.post("/api/v1/runs", json=ONE_OFF).status_code == 202


def test_our_own_pages_origin_is_ours(server):
    origin = server.url.removesuffix("/dataharbour")
    with server.client(None, cookies={"_token": "admin"}, headers={"Origin": origin}) as page:
        assert page.post("/api/v1/runs", json=ONE_OFF).status_code == 202
