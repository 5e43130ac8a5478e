"""Every address, enumerated from the application itself: what is there, and who may come in."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Mount

from dataharbour.api import guard
from dataharbour.api.guard import OPEN_PATHS

UNREACHABLE = "host=127.0.0.1 port=1 dbname=x user=y"

ROUTES = {
    "GET /api/v1/jobs",
    "GET /api/v1/jobs/{name}",
    "PUT /api/v1/jobs/{name}",
    "DELETE /api/v1/jobs/{name}",
    "GET /api/v1/jobs/{name}/runs",
    "POST /api/v1/jobs/{name}/runs",
    "GET /api/v1/runs",
    "POST /api/v1/runs",
    "GET /api/v1/runs/{run_id}",
    "GET /api/v1/runs/{run_id}/attempts",
    "GET /api/v1/runs/{run_id}/events",
    "GET /api/v1/runs/{run_id}/logs",
    "GET /api/v1/runs/{run_id}/artifacts",
    "GET /api/v1/runs/{run_id}/artifacts/{name}",
    "GET /api/v1/runs/{run_id}/spark/{path:path}",
    "POST /api/v1/runs/{run_id}:cancel",
    "POST /api/v1/runs/{run_id}:repair",
    "POST /api/v1/runs/{run_id}:retry",
    "GET /api/v1/runs/{run_id}/repairs",
    "GET /api/v1/clusters",
    "GET /api/v1/dashboard/stats",
    "GET /api/v1/dashboard/trends",
    "GET /docs",
    "GET /redoc",
    "GET /openapi.json",
    "GET /livez",
    "GET /readyz",
    "GET /health",
    "GET /sign-in",
}


def addresses(app: FastAPI) -> set[str]:
    """`METHOD /path` of every route; of a mount, of every file below it."""
    found = set()
    for route in app.routes:
        if isinstance(route, Mount):
            files = (p for p in Path(route.app.directory).rglob("*") if p.is_file())
            found |= {f"GET {route.path}/{file.relative_to(route.app.directory)}" for file in files}
        else:
            found |= {f"{method} {route.path}" for method in route.methods - {"HEAD"}}
    return found


def answering_to_anybody(app: FastAPI, client: httpx.Client) -> set[str]:
    """The addresses that do not turn an anonymous caller away with 401."""
    answering = set()
    for address in addresses(app):
        method, path = address.split(" ")
        answer = client.request(method, re.sub(r"{[a-z_]+}", str(uuid4()), path))
        if answer.status_code != 401:
            answering.add(path)
        else:
            assert answer.headers["content-type"] == "application/problem+json", address
            assert answer.json()["code"] == "not-authenticated", address
    return answering


@pytest.fixture
def running(serve, settings):
    return serve(settings, lambda: UNREACHABLE)


def test_the_api_has_these_addresses_and_no_others(running):
    assert {a for a in addresses(running.app) if "/docs-assets" not in a} == ROUTES
    assert {a for a in addresses(running.app) if "/docs-assets" in a}, "the pages need files"


def test_nobody_gets_in_without_a_user_except_to_three_words(running):
    with running as server, server.client(None) as anonymous:
        assert answering_to_anybody(running.app, anonymous) == {"/livez", "/readyz", "/health"}


def test_the_guard_lets_pass_no_more_than_these():
    # /sign-in takes a ticket instead of a user, and answers 401 without one.
    assert {"/livez", "/readyz", "/health", "/sign-in"} == OPEN_PATHS


def test_an_open_address_more_would_be_noticed(serve, settings, monkeypatch):
    monkeypatch.setattr(guard, "OPEN_PATHS", OPEN_PATHS | {"/docs", "/planted"})
    planted = serve(settings, lambda: UNREACHABLE)
    planted.app.add_api_route("/planted", lambda: "hello")
    with planted as server, server.client(None) as anonymous:
        found = answering_to_anybody(planted.app, anonymous)
    assert found - OPEN_PATHS == {"/docs", "/planted"}


def test_what_needs_a_caller_asks_for_one_even_when_the_guard_is_left_open(
    serve, settings, monkeypatch
):
    monkeypatch.setattr(guard, "OPEN_PATHS", OPEN_PATHS | {"/api/v1/jobs"})
    with serve(settings, lambda: UNREACHABLE) as server, server.client(None) as anonymous:
        assert anonymous.get("/api/v1/jobs").status_code == 401


def test_a_route_that_is_added_without_a_thought_is_guarded(running):
    running.app.add_api_route("/planted", lambda: "hello")
    with running as server, server.client(None) as anonymous:
        assert "/planted" not in answering_to_anybody(running.app, anonymous)


@pytest.mark.parametrize(
    "path",
    ["/", "/nothing", "/livez/", "/LIVEZ", "/livez/../api/v1/jobs", "//livez", "/api/v1/livez"],
)
def test_what_only_looks_like_an_open_address_is_guarded(running, path):
    with running as server, server.client(None) as anonymous:
        request = anonymous.build_request("GET", path)
        request.url = request.url.copy_with(raw_path=f"/dataharbour{path}".encode())
        assert anonymous.send(request).status_code == 401


@pytest.mark.parametrize("header", ["Bearer nobody", "Basic YWRtaW46YWRtaW4=", "Bearer", "admin"])
def test_a_wrong_credential_is_no_user(running, header):
    with running as server, server.client(None, headers={"Authorization": header}) as client:
        answer = client.get("/api/v1/jobs")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_body_that_is_not_json_does_not_get_past_the_guard(running):
    with running as server, server.client(None) as anonymous:
        answer = anonymous.post(
            "/api/v1/runs", content=b"{", headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 401


def test_an_unknown_address_and_a_wrong_method_are_problems(running):
    with running as server, server.client("viewer") as client:
        nowhere, wrong = client.get("/api/v1/nothing"), client.delete("/api/v1/runs")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "route-not-found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method-not-allowed")
    assert "DELETE" in wrong.json()["detail"]
    assert set(wrong.headers["allow"].split(", ")) >= {"GET"}
    for answer in (nowhere, wrong):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["remedy"]
