"""The API inside a real Airflow: what the stand-in of tests/api claims, asked of the real one."""

from __future__ import annotations

import json
import time
from uuid import uuid4

import httpx
import pytest

pytestmark = pytest.mark.integration

NOWHERE = {"application": "nowhere.py"}


@pytest.fixture(scope="module")
def tokens(platform) -> dict[str, str]:
    """One per role; each is a login."""
    return platform.tokens


@pytest.fixture
def client(platform, tokens):
    """Clients by role, or anonymous ones, or with a header of one's own."""
    opened: list[httpx.Client] = []

    def of(role: str | None = "admin", **options) -> httpx.Client:
        headers = dict(options.pop("headers", {}))
        if role:
            headers["Authorization"] = f"Bearer {tokens[role]}"
        opened.append(
            httpx.Client(
                base_url=options.pop("base_url", platform.url),
                headers=headers,
                trust_env=False,
                timeout=70,
                **options,
            )
        )
        return opened[-1]

    yield of
    for one in opened:
        one.close()


@pytest.fixture
def job(client) -> str:
    """A job that is declared, sound, and known to Airflow."""
    jobs = [j["name"] for j in client().get("/api/v1/jobs").json()["items"] if not j["error"]]
    assert jobs, "the platform declares no job"
    return "flights_delays" if "flights_delays" in jobs else jobs[0]


@pytest.fixture
def application(client, job) -> str:
    """A file below an allowed root."""
    return client().get(f"/api/v1/jobs/{job}").json()["application"]


@pytest.fixture
def refused(application) -> dict:
    """A one-off run that is accepted, and whose application refuses its argument at once."""
    return {"application": application, "args": ["--no-such-argument"], "backend": "local"}


def test_the_plugin_is_loaded_from_the_plugins_folder_and_without_errors(platform, client):
    airflow = client(base_url=platform.airflow_url)
    plugins = airflow.get("/api/v2/plugins").json()["plugins"]
    [ours] = [plugin for plugin in plugins if plugin["name"] == "dataharbour"]
    assert ours["source"].endswith("dataharbour_plugin.py")
    assert [(app["url_prefix"], app["app"]) for app in ours["fastapi_apps"]] == [
        ("/dataharbour", "fastapi.applications.FastAPI")
    ]
    assert airflow.get("/api/v2/plugins/importErrors").json()["total_entries"] == 0


def test_the_provider_is_registered(platform, client):
    airflow = client(base_url=platform.airflow_url)
    providers = airflow.get("/api/v2/providers", params={"limit": 200}).json()["providers"]
    names = {provider["package_name"] for provider in providers}
    assert "airflow-provider-dataharbour" in names


def test_three_addresses_are_open_and_the_schema_knows_no_fourth(client):
    anonymous = client(None)
    assert anonymous.get("/livez").json() == {"status": "healthy"}
    assert anonymous.get("/readyz").json() == {"status": "healthy"}
    assert anonymous.get("/health").json()["services"]["postgres"] == "healthy"
    for path, operations in client().get("/openapi.json").json()["paths"].items():
        for method in operations:
            if path not in {"/livez", "/readyz", "/health"}:
                address = path.replace("{", "").replace("}", "")
                answer = anonymous.request(method, address)
                assert answer.status_code == 401, (method, path)
                assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs-assets/redoc.css"])
def test_the_pages_are_behind_the_same_login(client, path):
    assert client(None).get(path).status_code == 401
    assert client("viewer").get(path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer garbage"},
        {"Authorization": "Basic YWRtaW46YWRtaW4="},
        {"Cookie": "_token=garbage"},
    ],
)
def test_a_credential_that_airflow_does_not_take_is_401(client, headers):
    answer = client(None, headers=headers).get("/api/v1/runs")
    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")


def test_the_login_cookie_is_a_user_and_another_site_cannot_use_it(tokens, client, refused):
    cookie = {"_token": tokens["op"]}
    assert client(None, cookies=cookie).get("/api/v1/runs").status_code == 200
    foreign = client(None, cookies=cookie, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.post("/api/v1/runs", json=refused).status_code == 403
    own = client(None, cookies=cookie, headers={"Sec-Fetch-Site": "same-origin"})
    assert own.post("/api/v1/runs", json=refused).status_code == 202


@pytest.mark.parametrize("role", ["viewer", "user", "op", "admin"])
def test_everybody_who_is_signed_in_reads_jobs_and_runs(client, role, job):
    assert client(role).get("/api/v1/jobs").status_code == 200
    assert client(role).get(f"/api/v1/jobs/{job}").status_code == 200
    assert client(role).get("/api/v1/runs").status_code == 200


@pytest.mark.parametrize("role", ["viewer", "user"])
def test_a_one_off_run_needs_the_role_op(client, role, refused):
    answer = client(role).post("/api/v1/runs", json=refused)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_airflows_own_trigger_of_any_application_needs_the_role_op_too(
    platform, client, job, refused
):
    def start(role: str, dag_id: str, conf: dict) -> httpx.Response:
        airflow = client(role, base_url=platform.airflow_url)
        body = {"logical_date": None, "conf": conf}
        return airflow.post(f"/api/v2/dags/{dag_id}/dagRuns", json=body)

    assert start("user", "spark_job", refused).status_code == 403
    assert start("op", "spark_job", refused).status_code == 200
    started = start("user", f"job__{job}", {})
    assert started.status_code == 200
    ended = client("user", base_url=platform.airflow_url).patch(
        f"/api/v2/dags/job__{job}/dagRuns/{started.json()['dag_run_id']}", json={"state": "failed"}
    )
    assert ended.status_code == 200


def test_a_viewer_starts_no_job(client, job):
    answer = client("viewer").post(f"/api/v1/jobs/{job}/runs", json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_an_accepted_run_is_a_dag_run_of_the_caller(platform, client, refused):
    answer = client("op").post("/api/v1/runs", json=refused)
    run = answer.json()
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == run["links"]["self"]
    airflow = client(base_url=platform.airflow_url)
    dag_run = airflow.get(f"/api/v2/dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}").json()
    assert dag_run["triggering_user_name"] == "op"
    assert dag_run["conf"]["application"] == refused["application"]
    log = airflow.get(
        "/api/v2/eventLogs", params={"dag_id": run["dag_id"], "run_id": run["dag_run_id"]}
    ).json()
    assert "trigger_dag_run" in {event["event"] for event in log["event_logs"]}


def test_the_same_key_is_the_same_run(client, refused):
    key = {"Idempotency-Key": f"live-{uuid4().hex}"}
    first = client("op").post("/api/v1/runs", json=refused, headers=key)
    again = client("op").post("/api/v1/runs", json=refused, headers=key)
    other = client("op").post("/api/v1/runs", json=refused | {"args": []}, headers=key)
    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 422)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert other.json()["code"] == "idempotency-conflict"


def test_a_run_that_airflow_has_already_is_found_by_its_409(platform, client, refused):
    """The stand-in answers 409 for a known dag_run_id; so does Airflow."""
    run = client("op").post("/api/v1/runs", json=refused).json()
    airflow = client("op", base_url=platform.airflow_url)
    answer = airflow.post(
        f"/api/v2/dags/{run['dag_id']}/dagRuns",
        json={"dag_run_id": run["dag_run_id"], "logical_date": None, "conf": refused},
    )
    assert answer.status_code == 409


def test_airflow_answers_404_for_a_dag_it_does_not_know(platform, client):
    answer = client(base_url=platform.airflow_url).post(
        "/api/v2/dags/no_such_dag/dagRuns", json={"logical_date": None}
    )
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (NOWHERE, "application-not-found"),
        ({"application": "/etc/passwd"}, "application-not-allowed"),
        ({"conf": {"spark.jars": "http://x/evil.jar"}}, "conf-not-allowed"),
        ({"backend": "mesos"}, "invalid-request"),
        ({"colour": "red"}, "invalid-request"),
    ],
)
def test_bad_input_starts_nothing(client, refused, change, code):
    def newest() -> str:
        return client().get("/api/v1/runs?limit=1").json()["items"][0]["id"]

    before = newest()
    answer = client("op").post("/api/v1/runs", json=refused | change)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["remedy"]
    assert newest() == before


def test_a_body_over_the_limit_is_413(client):
    answer = client("op").post("/api/v1/runs", json={"application": "a" * 300_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")


def test_a_foreign_or_unknown_run_is_404(client):
    for path in ("", "/logs", "/events"):
        answer = client("viewer").get(f"/api/v1/runs/{uuid4()}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "run-not-found")


def test_a_run_is_followed_to_its_end_by_its_event_stream(client, refused):
    run = client("op").post("/api/v1/runs", json=refused).json()
    viewer = client("viewer")
    path = f"/api/v1/runs/{run['id']}"
    names: list[str] = []
    position: dict[str, str] = {}
    while "end" not in names:
        headers = {"Accept": "text/event-stream", **position}
        with viewer.stream("GET", f"{path}/logs", headers=headers) as answer:
            assert answer.status_code == 200
            assert "content-encoding" not in answer.headers, (
                "a compressed stream would be held back"
            )
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    position = {"Last-Event-ID": value}
                elif name == "event":
                    names.append(value)
                elif name == "data":
                    json.loads(value)
    ended = viewer.get(f"{path}?wait=30").json()
    assert (ended["state"], ended["failure"]["class"]) == ("FAILED", "USER_ERROR")
    log = viewer.get(f"{path}/logs").json()
    assert log["complete"] is True
    assert any("usage: flights_delays.py" in line["line"] for line in log["items"])
    told = [e["new"] for e in viewer.get(f"{path}/events").json()["items"]]
    assert told[0] == "ACCEPTED"
    assert told[-1] == "FAILED"


def test_a_stored_job_becomes_a_dag_and_runs(platform, client, application):
    """The API server writes the file that the DAG processor reads; nothing else is told."""
    path = "/api/v1/jobs/stored_live"
    document = {
        "description": "Stored by a test.",
        "application": application,
        "args": ["--no-such-argument"],
        "backend": "local",
    }
    assert client("user").put(path, json=document).status_code == 403
    stored = client("op").put(path, json=document)
    assert stored.status_code == 201, stored.text
    try:
        deadline = time.monotonic() + 150
        while (started := client("op").post(f"{path}/runs", json={})).status_code == 503:
            assert started.json()["code"] == "dag-not-ready"
            assert time.monotonic() < deadline, "Airflow did not make a DAG of it"
            time.sleep(2)
        assert started.status_code == 202, started.text
        assert client("viewer").get(path).json()["source"] == "api"
        early = client("op").delete(path, headers={"If-Match": stored.headers["etag"]})
        assert early.status_code == 409, "a run of it has not ended"
        ended = client("viewer").get(f"/api/v1/runs/{started.json()['id']}?wait=60").json()
        assert (ended["state"], ended["job"]) == ("FAILED", "stored_live")
        assert ended["failure"]["class"] == "USER_ERROR"
    finally:
        answer = client("op").delete(path, headers={"If-Match": "*"})
    assert answer.status_code == 204, answer.text
    assert client("op").get(path).status_code == 404
