"""The pages that show the API, and the three open words."""

from __future__ import annotations

import re
import socket
from dataclasses import replace

import pytest

from dataharbour.api.schemas.problem import Problem

UNREACHABLE = "host=127.0.0.1 port=1 dbname=x user=y"


@pytest.fixture
def offline(serve, settings):
    with serve(settings, lambda: UNREACHABLE) as server:
        yield server


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_a_page_loads_everything_from_this_server(offline, page):
    with offline.client("viewer") as client:
        answer = client.get(f"/{page}")
        links = re.findall(r'(?:src|href|spec-url)="([^"]+)"', answer.text)
        assert len(links) >= 3
        for link in links:
            assert not link.startswith(("http", "//", "/")), "relative, so that any prefix works"
            if not link.startswith("data:"):
                assert client.get(f"/{link}").status_code == 200, link
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_a_page_needs_no_inline_script_and_allows_none(offline, page):
    with offline.client("viewer") as client:
        answer = client.get(f"/{page}")
    policy = dict(
        part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'self'"
    assert "http" not in answer.headers["content-security-policy"]
    assert re.findall(r"<script(?![^>]* src=)", answer.text) == []
    assert re.findall(r"<style|\son[a-z]+=|\sstyle=", answer.text) == []


def test_swagger_is_told_where_the_schema_is(offline):
    with offline.client("viewer") as client:
        script = client.get("/docs-assets/swagger.js").text
    assert 'url: "openapi.json"' in script
    assert "validatorUrl: null" in script, "else it asks a server on the internet"


def test_the_schema_names_this_mount_and_the_token(offline):
    with offline.client("viewer") as client:
        schema = client.get("/openapi.json").json()
    assert schema["servers"] == [{"url": "/dataharbour"}]
    assert schema["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert "/docs" not in schema["paths"]
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert operation["operationId"].isidentifier()
            if path.startswith("/api/"):
                assert operation["security"] == [{"HTTPBearer": []}]
                problem = operation["responses"]["default"]["content"]
                assert list(problem) == ["application/problem+json"]


def test_problems_follow_the_schema_that_documents_them(offline):
    with offline.client("viewer") as client:
        for answer in (client.get("/nothing"), client.post("/api/v1/runs", json={"x": 1})):
            Problem.model_validate(answer.json(), extra="forbid")


def test_livez_asks_nobody(offline):
    with offline.client(None) as anybody:
        answer = anybody.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})


def test_readyz_is_about_the_database(server, offline):
    with server.client(None) as anybody:
        assert anybody.get("/readyz").json() == {"status": "healthy"}
    with offline.client(None) as anybody:
        answer = anybody.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def test_notebooks_are_looked_at_once_in_a_while_however_many_ask(serve, settings, database):
    with socket.create_server(("127.0.0.1", 0)) as lab:
        lab.settimeout(0.3)
        url = f"http://127.0.0.1:{lab.getsockname()[1]}/notebooks"
        running = serve(replace(settings, notebooks_url=url), lambda: database)
        with running as server, server.client(None) as anybody:
            told = {anybody.get("/health").json()["services"]["notebooks"] for _ in range(5)}
        lab.accept()[0].close()
        with pytest.raises(TimeoutError):
            lab.accept()
    assert told == {"healthy"}


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://127.0.0.1:x", "http://[::1"])
def test_an_address_of_notebooks_that_is_none_is_down(serve, settings, database, url):
    running = serve(replace(settings, notebooks_url=url), lambda: database)
    with running as server, server.client(None) as anybody:
        answer = anybody.get("/health")
    assert (answer.status_code, answer.json()["services"]["notebooks"]) == (200, "down")


def test_health_is_always_200_and_never_healthy_by_guess(server, offline):
    with server.client(None) as anybody:
        well = anybody.get("/health")
    with offline.client(None) as anybody:
        ill = anybody.get("/health")
    assert well.status_code == ill.status_code == 200
    assert well.json() == {
        "status": "unknown",
        "services": {
            "api": "healthy",
            "airflow": "unknown",
            "spark": "unknown",
            "postgres": "healthy",
            "object_store": "unknown",
            "notebooks": "off",
        },
    }
    assert ill.json()["status"] == ill.json()["services"]["postgres"] == "down"
