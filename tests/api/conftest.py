"""The API as a real server: mounted as Airflow mounts it, beside a stand-in for Airflow itself."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from psycopg.types.json import Jsonb

from dataharbour.api.airflow_rest import AirflowRest
from dataharbour.api.app import create_app
from dataharbour.api.database import Database
from dataharbour.api.services import Services, no_cluster
from dataharbour.errors import NotAuthenticated
from dataharbour.jobs.backends.master import ClusterEndpoint
from dataharbour.jobs.clusters import Cluster
from dataharbour.jobs.model import Detail, RunRequest
from dataharbour.settings import Settings

ROLES = ("viewer", "user", "op", "admin")  # as SimpleAuthManager has them, the weakest first
MOUNT = "/dataharbour"


class Roles:
    """Users whose token is their role; the rules are those of DataHarbourAuthManager.

    `hidden` holds DAGs that nobody but the admin may see, `lacking` rights that nobody has, as
    (method, part), and `asked` is how often a right was asked for.
    """

    def __init__(self) -> None:
        self.hidden: set[str] = set()
        self.lacking: set[tuple[str, str | None]] = set()
        self.asked = 0

    async def authenticate(self, request: Request) -> str:
        token = (self.credential(request) or "").removeprefix("Bearer ")
        if token not in ROLES:
            raise NotAuthenticated("This address needs a signed-in user.", "Sign in.")
        return token

    def credential(self, request: Request) -> str | None:
        header = request.headers.get("authorization", "")
        if header.startswith("Bearer "):
            return header
        cookie = request.cookies.get("_token")
        return f"Bearer {cookie}" if cookie else None

    def name(self, user: str) -> str:
        return user

    def may(self, user: str, method: str, part: str | None, dag_id: str | None) -> bool:
        self.asked += 1
        if method != "GET" and part and dag_id == "spark_job" and not self.may_operate(user):
            return False
        return (method, part) not in self.lacking and self._has(user, method, dag_id)

    def those_that_may_be_seen(self, user: str, dag_ids: Collection[str]) -> set[str]:
        self.asked += 1
        if ("GET", None) in self.lacking:
            return set()
        return {dag_id for dag_id in dag_ids if self._has(user, "GET", dag_id)}

    def may_operate(self, user: str) -> bool:
        return ("PUT", "configuration") not in self.lacking and ROLES.index(user) >= 2

    def readable_dags(self, user: str) -> set[str]:
        return self.those_that_may_be_seen(user, {"spark_job", "job__flights", "job__hello"})

    def _has(self, user: str, method: str, dag_id: str | None) -> bool:
        strong_enough = method == "GET" or ROLES.index(user) >= 1
        return strong_enough and (user == "admin" or dag_id not in self.hidden)


@dataclass
class StandInAirflow:
    """What the API asks of Airflow's REST API, with Airflow's own answers.

    `tests/integration/test_api_live.py` asks the same of the real one.
    """

    dags: set[str] = field(default_factory=lambda: {"spark_job", "job__flights", "job__hello"})
    runs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    credentials: list[str | None] = field(default_factory=list)
    fail_with: int | None = None
    lose_the_answer: bool = False
    failed: dict[tuple[str, str], set[tuple[str, int]]] = field(default_factory=dict)
    cleared: list[set[tuple[str, int]]] = field(default_factory=list)
    before_clear: Callable[[], None] | None = None

    def trigger(self, dag_id: str, body: dict[str, Any], credential: str | None) -> JSONResponse:
        self.credentials.append(credential)
        if self.fail_with is not None:
            raise HTTPException(self.fail_with, "as the test wants it")
        if dag_id not in self.dags:
            raise HTTPException(404, f"Dag with dag_id: '{dag_id}' not found")
        assert set(body) == {"dag_run_id", "logical_date", "conf"}
        if (dag_id, body["dag_run_id"]) in self.runs:
            return JSONResponse({"detail": {"reason": "Unique constraint violation"}}, 409)
        self.runs[dag_id, body["dag_run_id"]] = body["conf"]
        if self.lose_the_answer:
            raise HTTPException(502, "the answer was lost on its way")
        return JSONResponse({"dag_run_id": body["dag_run_id"], "state": "queued"})

    def clear(self, dag_id: str, body: dict[str, Any], credential: str | None) -> JSONResponse:
        """Clears the tasks that `failed` has; `before_clear` is what others do meanwhile."""
        assert set(body) == {"dag_run_id", "only_failed", "dry_run"}
        assert body["only_failed"] is True
        found = self.failed.get((dag_id, body["dag_run_id"]))
        if found is None:
            raise HTTPException(404, f"Dag Run id {body['dag_run_id']} not found in dag {dag_id}")
        if not body["dry_run"]:
            if self.before_clear is not None:
                self.before_clear()
            self.credentials.append(credential)
            if self.fail_with is not None:
                raise HTTPException(self.fail_with, "as the test wants it")
            self.cleared.append(set(found))
            self.failed[dag_id, body["dag_run_id"]] = set()
            if self.lose_the_answer:
                raise HTTPException(502, "the answer was lost on its way")
        told = [{"task_id": task, "map_index": index} for task, index in sorted(found)]
        return JSONResponse({"task_instances": told, "total_entries": len(told)})


@dataclass
class Server:
    """A running API and what lies around it."""

    url: str
    services: Services
    roles: Roles
    airflow: StandInAirflow
    app: FastAPI
    clusters: list[Cluster]
    cluster: ClusterEndpoint | None = None

    def client(self, role: str | None = "admin", **options: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {role}"} if role else {}
        headers |= options.pop("headers", {})
        return httpx.Client(
            base_url=self.url,
            headers=headers,
            trust_env=False,
            timeout=30,
            event_hooks={"response": [problem_is_documented, headers_are_documented]},
            **options,
        )


def problem_is_documented(answer: httpx.Response) -> None:
    """Every problem that any test meets is among those that OpenAPI and api.md name."""
    if answer.headers.get("content-type") != "application/problem+json":
        return
    answer.read()
    path = answer.request.url.path.removeprefix(MOUNT)
    for pattern, operations in documented_paths():
        operation = operations.get(answer.request.method.lower())
        if operation and pattern.fullmatch(path):
            codes = [
                code
                for status, described in operation["responses"].items()
                if status in {"default", str(answer.status_code)}
                for code in described.get("x-codes", ())
            ]
            assert answer.json()["code"] in codes, (path, answer.status_code, answer.json())
            return


TOLD = {"etag", "location", "idempotency-key", "idempotency-replayed"}


def headers_are_documented(answer: httpx.Response) -> None:
    """So is every header that a caller goes on with; Retry-After of failures is told once."""
    path = answer.request.url.path.removeprefix(MOUNT)
    for pattern, operations in documented_paths():
        operation = operations.get(answer.request.method.lower())
        if operation and pattern.fullmatch(path):
            described = operation["responses"].get(str(answer.status_code), {})
            named = {name.lower() for name in described.get("headers", {})}
            told = TOLD | ({"retry-after"} if answer.is_success else set())
            assert told & set(answer.headers) <= named, (path, answer.status_code)
            return


@cache
def documented_paths() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    paths = create_app(SimpleNamespace(access=None)).openapi()["paths"]
    return [
        (re.compile(re.sub(r"{[a-z_]+}", "[^/]+?", path)), operations)
        for path, operations in paths.items()
    ]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    applications, include = tmp_path / "applications", tmp_path / "include"
    applications.mkdir()
    (include / "jobs").mkdir(parents=True)
    (applications / "hello.py").write_text("print('hello')\n")
    (tmp_path / "outside.py").write_text("print('no')\n")
    (include / "jobs" / "hello.yaml").write_text(HELLO)
    return Settings(
        home=tmp_path,
        include_dir=include,
        applications=(applications,),
        lake=f"file://{tmp_path}/lake",
        java_home=None,
        spark_defaults=None,
        driver_dsn_file=tmp_path / "driver.dsn",
    )


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

    def progress(self, **counts: int | str) -> None:
        assert self._call("select driver.progress(%s, %s, %s)", Jsonb(counts))

    def fail(self, message: str) -> None:
        end = "select driver.finish(%s, %s, 'FAILED', 1, 'USER_ERROR', %s)"
        assert self._call(end, message)

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


HELLO = """\
description: Says hello.
application: hello.py
args: ["--to", "{params.who}"]
params:
  who: {type: string, default: world}
backend: local
labels: {team: greeting}
"""


@pytest.fixture
def serve() -> type[serving]:
    """To start a server of one's own."""
    return serving


@pytest.fixture
def server(settings: Settings, database: str) -> Iterator[Server]:
    with serving(settings, lambda: database) as running:
        yield running


@pytest.fixture
def admin(server: Server) -> Iterator[httpx.Client]:
    with server.client("admin") as client:
        yield client


class serving:
    """A server for the time of a `with`."""

    def __init__(self, settings: Settings, conninfo: Callable[[], str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        origin = f"http://127.0.0.1:{self.port}"
        roles, airflow = Roles(), StandInAirflow()
        clusters: list[Cluster] = []
        services = Services(
            access=roles,
            database=Database(conninfo),
            airflow=AirflowRest(origin),
            load_settings=lambda: settings,
            clusters=lambda: clusters,
            cluster=lambda: self.server.cluster or no_cluster(),
        )
        self.app = create_app(services)
        self.server = Server(origin + MOUNT, services, roles, airflow, self.app, clusters)
        self.uvicorn = uvicorn.Server(
            uvicorn.Config(
                as_airflow_mounts_it(self.app, airflow),
                port=self.port,
                log_level="error",
                ws="none",
            )
        )
        self.thread = threading.Thread(target=self.uvicorn.run, daemon=True)

    def __enter__(self) -> Server:
        self.thread.start()
        deadline = time.monotonic() + 10
        while not self.uvicorn.started:
            assert self.thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self.server

    def __exit__(self, *_: object) -> None:
        self.uvicorn.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive(), "the server did not stop"


def as_airflow_mounts_it(app: FastAPI, airflow: StandInAirflow) -> FastAPI:
    @asynccontextmanager
    async def lifespan(root: FastAPI):
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    root = FastAPI(lifespan=lifespan)
    root.mount(MOUNT, app)

    @root.post("/api/v2/dags/{dag_id}/dagRuns")
    def trigger(dag_id: str, body: dict[str, Any], request: Request) -> JSONResponse:
        return airflow.trigger(dag_id, body, request.headers.get("authorization"))

    @root.post("/api/v2/dags/{dag_id}/clearTaskInstances")
    def clear(dag_id: str, body: dict[str, Any], request: Request) -> JSONResponse:
        return airflow.clear(dag_id, body, request.headers.get("authorization"))

    return root
