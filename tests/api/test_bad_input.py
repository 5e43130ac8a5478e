"""What bad input gets: every line of the list, on every address that takes such input.

Accepting, limits and stored jobs have tables of their own (`test_starting`, `test_limits`,
`test_definitions`); here is what a request of an attacker looks like, and that it leaves nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from dataharbour.api import guard
from dataharbour.api.guard import SAFE_METHODS
from dataharbour.jobs.model import Detail, RunRequest
from dataharbour.jobs.secrets import HIDDEN

ONE_OFF = {"application": "hello.py", "backend": "local"}
JOB = {"description": "x", "application": "hello.py", "backend": "local"}
SECRET = "hunter2hunter2hunter2"


@dataclass(frozen=True)
class Traces:
    """What a refused request must leave as it was."""

    rows: int
    started: int
    files: tuple[str, ...]


@pytest.fixture
def traces(server, settings, database):
    def look() -> Traces:
        with psycopg.connect(database) as connection:
            [rows] = connection.execute(
                "select (select count(*) from public.run)"
                " + (select count(*) from public.job_definition)"
            ).fetchone()
        files = (str(path.relative_to(settings.home)) for path in settings.home.rglob("*"))
        return Traces(rows, len(server.airflow.runs), tuple(sorted(files)))

    return look


def everywhere(database: str, server) -> str:
    """All that was kept of requests: our rows and events, Airflow's conf."""
    with psycopg.connect(database) as connection:
        tables = ("run", "event", "attempt", "job_definition", "log_chunk")
        kept = [connection.execute(f"select * from public.{t}").fetchall() for t in tables]
    return f"{kept} {list(server.airflow.runs.values())}"


def not_refused(client: httpx.Client, field: str, values: list) -> dict[str, str]:
    """Which values of a field a one-off run and a stored job take, with the two statuses."""
    taken = {}
    for value in values:
        answers = [
            client.post("/api/v1/runs", json=ONE_OFF | {field: value}),
            client.put("/api/v1/jobs/tried", json=JOB | {field: value}),
        ]
        for answer in answers:
            if answer.status_code == 422:
                assert answer.json()["code"] in REFUSALS, answer.text
                assert answer.json()["remedy"]
        if {answer.status_code for answer in answers} != {422}:
            taken[str(value)] = " ".join(str(answer.status_code) for answer in answers)
    return taken


REFUSALS = {
    "application-not-allowed",
    "application-not-found",
    "conf-not-allowed",
    "invalid-request",
    "secret-in-request",
}


# --- paths and schemes -------------------------------------------------------------------------

TRAVERSALS = [
    "../outside.py",
    "./../outside.py",
    "x/../../outside.py",
    "%2e%2e/outside.py",
    "%2e%2e%2foutside.py",
    "..%2Foutside.py",
    "..%252foutside.py",
    "..\\outside.py",
    "....//outside.py",
    "/../outside.py",
    "//outside.py",
    "/proc/self/environ",
    "/proc/self/cwd/outside.py",
    "file:///etc/passwd",
    "file:../outside.py",
    "file:%2e%2e/outside.py",
    "file://localhost/%2e%2e/outside.py",
    "file://evil.example/hello.py",
    "file:hello.py?x=/../outside.py",
    "hello.py\0",
    "hello.py%00.py",
    "link.py",
    "loop.py",
    "-c.py",
    "hello.py,../outside.py",
    "hello.py#x",
    "hel*o.py",
    " hello.py",
    "hello.py\n",
    "",
]
SCHEMES = [
    "http://evil.example/x.py",
    "HTTP://evil.example/x.py",
    "https://u:p@evil.example/x.py",
    "ftp://evil.example/x.py",
    "s3a://lake/x.py",
    "hdfs://evil.example/x.py",
    "local:///opt/x.py",
    "jar:file:/x.jar!/x.py",
    "data:text/x-python,print(1).py",
    "javascript:alert(1).py",
    "ivy://evil:x:1.py",
    "fi\tle:///etc/x.py",
    "\x01file:///etc/x.py",
]


def test_an_application_elsewhere_is_refused(admin, settings, traces):
    root = settings.applications[0]
    (root / "link.py").symlink_to(settings.home / "outside.py")
    (root / "loop.py").symlink_to(root / "loop.py")
    before = traces()
    assert not_refused(admin, "application", [*TRAVERSALS, *SCHEMES]) == {}
    assert not_refused(admin, "application", ["hello.py"]) == {"hello.py": "202 201"}, "planted"
    assert traces().rows == before.rows + 2


# --- Spark settings ----------------------------------------------------------------------------

DENIED = [
    "spark.driver.extraJavaOptions",
    "spark.driver.defaultJavaOptions",
    "spark.executor.extraClassPath",
    "spark.driver.extraLibraryPath",
    "spark.jars",
    "spark.jars.packages",
    "spark.jars.ivy",
    "spark.files",
    "spark.archives",
    "spark.submit.pyFiles",
    "spark.submit.deployMode",
    "spark.master",
    "spark.remote",
    "spark.app.id",
    "spark.plugins",
    "spark.extraListeners",
    "spark.sql.extensions",
    "spark.sql.catalog.evil",
    "spark.sql.queryExecutionListeners",
    "spark.driver.resource.gpu.discoveryScript",
    "spark.kubernetes.driver.podTemplateFile",
    "spark.yarn.dist.files",
    "spark.yarn.keytab",
    "spark.hadoop.fs.s3a.secret.key",
    "spark.hadoop.fs.s3a.aws.credentials.provider",
    "spark.eventLog.dir",
    "spark.dataharbour.run",
    "spark.ui.filters",
    "spark.acls.enable",
    "spark.authenticate.secret",
    "spark.redaction.regex",
    "spark.executorEnv.LD_PRELOAD",
    "spark.executorEnv.PYTHONPATH",
    "spark.driverEnv.JAVA_TOOL_OPTIONS",
    "spark.pyspark.python",
    "",
    "x",
]
ALLOWED = "spark.sql.shuffle.partitions"
DISGUISED = [
    ALLOWED.upper(),
    ALLOWED.title(),
    f" {ALLOWED}",
    f"{ALLOWED} ",
    f"{ALLOWED}\n",
    f"{ALLOWED}\nspark.jars",
    f"{ALLOWED}\r\nspark.jars=x",
    f"{ALLOWED}=4\tspark.jars",
    f"{ALLOWED}\0",
    f"{ALLOWED}\x7f",
    f"{ALLOWED}\u2028",
    "ſpark.sql.shuffle.partitions",
    "spark.jars\u200b",
    *(each(key) for key in ("spark.jars", "spark.master") for each in (str.upper, str.title)),
]


def test_a_setting_that_is_not_on_the_list_is_refused_in_any_writing(admin, traces):
    before = traces()
    assert not_refused(admin, "conf", [{key: "4"} for key in [*DENIED, *DISGUISED]]) == {}
    assert traces() == before
    assert not_refused(admin, "conf", [{ALLOWED: "4"}]) == {f"{{{ALLOWED!r}: '4'}}": "202 201"}


def test_a_value_that_smuggles_is_refused(admin, traces):
    before = traces()
    values = ["4\nspark.jars x.jar", "4 ", "0", "-1", "4;rm", "", "4\0", "１"]
    assert not_refused(admin, "conf", [{ALLOWED: value} for value in values]) == {}
    assert traces() == before


# --- size and depth ------------------------------------------------------------------------------


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


TOO_LARGE = [
    ("runs", ONE_OFF | {"args": ["x" * 65_537]}, 422),
    ("runs", ONE_OFF | {"args": ["x" * 40_000, "y" * 40_000]}, 422),
    ("runs", ONE_OFF | {"args": ["ä" * 40_000]}, 422),
    ("runs", ONE_OFF | {"args": ["x"] * 101}, 422),
    ("runs", ONE_OFF | {"labels": {f"a{n}": "x" for n in range(21)}}, 422),
    ("runs", ONE_OFF | {"labels": {"a": "x" * 201}}, 422),
    ("runs", ONE_OFF | {"application": "x" * 1_025}, 422),
    ("jobs/hello/runs", {"params": {"who": "x" * 70_000}}, 422),
    ("jobs/hello/runs", {"params": {"who": "x" * 300_000}}, 413),
]


def test_what_is_too_large_is_refused(admin, traces):
    before = traces()
    for path, body, status in TOO_LARGE:
        answer = admin.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == status, answer.text[:300]
        assert len(answer.text) < 2_000, "the value is not sent back"
    assert traces() == before


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_a_body_that_is_not_sent_as_json_is_told_so(admin, traces, kind):
    """As curl sends it, when nobody says what it is."""
    before, headers = traces(), {"Content-Type": kind} if kind else {}
    answer = admin.post("/api/v1/jobs/hello/runs", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
    assert "Content-Type: application/json" in answer.json()["remedy"]
    assert traces() == before


def test_a_body_that_is_missing_or_of_a_kind_of_json_is_no_other_format(admin):
    headers = {"Content-Type": "application/vnd.ops+json"}
    for answer in (
        admin.post("/api/v1/jobs/hello/runs"),
        admin.post("/api/v1/jobs/hello/runs", content=b"[]", headers=headers),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


def test_what_is_nested_too_deep_is_refused(admin, traces):
    before = traces()
    for depth in (65, 300, 900, 990, 5_000, 40_000):
        for path, body in (
            ("runs", nested(depth)),
            ("jobs/hello/runs", f'{{"params": {nested(depth)}}}'),
        ):
            kind = {"Content-Type": "application/json"}
            answer = admin.post(f"/api/v1/{path}", content=body, headers=kind)
            assert answer.status_code == 422, f"{path} {depth}: {answer.text[:300]}"
    assert traces() == before


# --- other people's things -----------------------------------------------------------------------


def foreign_addresses(app: FastAPI, run_id: str) -> list[tuple[str, str]]:
    """Every address below /api/v1 that names one run or one job."""
    found = []
    for route in app.routes:
        path = getattr(route, "path", "")
        if path.startswith("/api/v1/") and "{" in path:
            path = path.replace("{run_id}", run_id).replace("{name}", "hello")
            found += [(method, path) for method in sorted(route.methods - {"HEAD"})]
    return found


def test_a_foreign_thing_looks_exactly_like_none(server, admin, traces):
    run_id = admin.post("/api/v1/jobs/hello/runs", json={}).json()["id"]
    server.roles.hidden.add("job__hello")
    before, nowhere = traces(), str(uuid4())
    addresses = foreign_addresses(server.app, run_id)
    assert len(addresses) >= 10
    with server.client("op") as client:
        for method, path in addresses:
            options = {"json": JOB} if method == "PUT" else {"json": {}} if method == "POST" else {}
            foreign = client.request(method, path, **options)
            assert foreign.status_code == 404, f"{method} {path}"
            if method == "PUT":
                continue  # where there is none it makes one
            elsewhere = path.replace(run_id, nowhere).replace("hello", "nowhere")
            none = client.request(method, elsewhere, **options)
            assert none.status_code == 404, f"{method} {elsewhere}"
            told = foreign.text.replace(run_id, nowhere).replace("hello", "nowhere")
            assert told == none.text
    assert traces() == before


def test_a_key_tells_nothing_of_other_peoples_runs(server, admin):
    key = {"Idempotency-Key": "nightly"}
    admin.post("/api/v1/runs", json=ONE_OFF, headers=key)
    with server.client("op") as client:
        answer = client.post("/api/v1/runs", json=ONE_OFF | {"args": ["x"]}, headers=key)
    assert answer.status_code == 202
    assert "idempotency-replayed" not in answer.headers


# --- what has changed, or has ended --------------------------------------------------------------


def test_conflicts_are_told_apart(admin, server):
    key = {"Idempotency-Key": "k"}
    run = admin.post("/api/v1/runs", json=ONE_OFF, headers=key).json()
    other = admin.post("/api/v1/runs", json=ONE_OFF | {"args": ["x"]}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-conflict")
    cancel = f"/api/v1/runs/{run['id']}:cancel"
    stale = admin.post(cancel, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")
    server.services.runs.finish(run["id"], detail=Detail.FAILED, now=datetime.now(UTC))
    late = admin.post(cancel)
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    assert "FAILED" in late.json()["detail"]


# --- secrets -------------------------------------------------------------------------------------

SECRETS = [
    ("runs", ONE_OFF | {"args": [f"--password={SECRET}"]}, "/args/0"),
    ("runs", ONE_OFF | {"args": ["--api-key", SECRET]}, "/args/1"),
    ("runs", ONE_OFF | {"args": [f"https://u:{SECRET}@h/x"]}, "/args/0"),
    ("runs", ONE_OFF | {"labels": {"token": SECRET}}, "/labels/token"),
    ("runs", ONE_OFF | {"conf": {ALLOWED: f"password={SECRET}"}}, None),
    ("runs", ONE_OFF | {"conf": {"spark.hadoop.fs.s3a.secret.key": SECRET}}, None),
    ("runs", ONE_OFF | {"application": f"https://u:{SECRET}@h/x.py"}, None),
    ("jobs/hello/runs", {"params": {"who": f"password={SECRET}"}}, "/params/who"),
    ("jobs/hello/runs", {"params": {"password": SECRET}}, None),
    ("jobs/hello/runs", {"labels": {"secret": SECRET}}, "/labels/secret"),
    ("runs", ONE_OFF | {"timeout_s": f"password={SECRET}"}, None),
    ("runs", ONE_OFF | {SECRET: 1}, None),
]


def test_a_secret_is_refused_and_kept_and_repeated_nowhere(server, admin, database, traces, caplog):
    before = traces()
    for path, body, place in SECRETS:
        answer = admin.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == 422, body
        if place is not None:
            assert answer.json()["code"] == "secret-in-request", body
            assert answer.json()["detail"].startswith(place)
        if SECRET not in body:  # else it is the name of a field, and that is told
            assert SECRET not in answer.text, body
    assert SECRET not in everywhere(database, server)
    assert SECRET not in caplog.text
    assert traces() == before


def test_a_job_with_a_secret_is_not_stored(server, admin, database, traces):
    before = traces()
    for change in (
        {"args": ["--token", SECRET]},
        {"params": {"api_key": {"type": "string", "default": SECRET}}},
        {"description": "Uses AKIA" + "IOSFODNN7EXAMPLE."},
        {"labels": {"password": SECRET}},
        {"timezone": f"token={SECRET}"},
    ):
        answer = admin.put("/api/v1/jobs/evil", json=JOB | change)
        assert answer.status_code == 422, change
        assert SECRET not in answer.text
        assert "IOSFODNN7" not in answer.text
    assert SECRET not in everywhere(database, server)
    assert traces() == before


def test_a_secret_that_came_another_way_is_hidden_where_it_is_shown(server, admin, driver):
    """Airflow's form and the exceptions of applications pass by our checks."""
    runs, now = server.services.runs, datetime.now(UTC)
    run = runs.open_run(
        RunRequest(application="hello.py", backend="local", args=("--password", SECRET)),
        application_sha256="",
        dag_id="spark_job",
        dag_run_id="manual__1",
        task_id="run",
        principal="ada",
        now=now,
    )
    from dataharbour.jobs.model import Failure, FailureClass

    reason = Failure(FailureClass.USER_ERROR, f"ValueError: password={SECRET} is wrong")
    runs.finish(run.id, detail=Detail.FAILED, failure=reason, now=now)
    driver.fail(reason.message)
    one, attempts = f"runs/{run.id}", f"runs/{driver.run_id}/attempts"
    for place in (one, "runs", f"{one}/events", f"{one}/repairs", attempts):
        shown = admin.get(f"/api/v1/{place}")
        assert SECRET not in shown.text, place
        assert f"password={HIDDEN} is wrong" in shown.text, place
    retry = admin.post(f"/api/v1/runs/{run.id}:retry")
    assert (retry.status_code, retry.json()["code"]) == (422, "secret-in-request")
    assert server.airflow.runs == {}


def test_what_airflow_says_is_searched_for_secrets_too(server, admin, monkeypatch):
    def refuse(*_):
        from fastapi import HTTPException

        raise HTTPException(422, f"conf: password={SECRET} is not allowed")

    monkeypatch.setattr(server.airflow, "trigger", refuse)
    answer = admin.post("/api/v1/runs", json=ONE_OFF)
    assert (answer.status_code, answer.json()["code"]) == (422, "refused-by-airflow")
    assert SECRET not in answer.text


# --- other sites ---------------------------------------------------------------------------------

CROSS_SITE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
]


def mutations(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of every address that changes something, by the application itself."""
    return [
        (method, re.sub(r"{[a-z_]+}", str(uuid4()), route.path))
        for route in app.routes
        for method in sorted((getattr(route, "methods", None) or set()) - SAFE_METHODS)
    ]


def let_through(app: FastAPI, browser: httpx.Client) -> set[str]:
    """The mutations that do not refuse a request of another site."""
    return {
        f"{method} {path}"
        for method, path in mutations(app)
        for headers in CROSS_SITE
        if browser.request(method, path, headers=headers, json={}).json().get("code") != "forbidden"
    }


def test_every_mutation_refuses_other_sites_with_the_login_cookie(server, traces):
    assert {method for method, _ in mutations(server.app)} >= {"POST", "PUT", "DELETE"}
    before = traces()
    with server.client(None, cookies={"_token": "admin"}) as browser:
        assert let_through(server.app, browser) == set()
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = browser.request(method, "/not/there", headers=CROSS_SITE[0])
            assert answer.status_code == 403, "whatever is added there"
    assert traces() == before


def test_a_mutation_that_is_not_guarded_would_be_noticed(serve, settings, database, monkeypatch):
    monkeypatch.setattr(guard, "OPEN_PATHS", frozenset({"/planted"}))
    running = serve(settings, lambda: database)
    running.app.add_api_route("/planted", lambda: {"code": "done"}, methods=["POST"])
    with running as server, server.client(None, cookies={"_token": "admin"}) as browser:
        assert let_through(running.app, browser) == {"POST /planted"}
