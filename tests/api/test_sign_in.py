"""The one-time link: a ticket of this machine becomes the login cookie, once."""

from __future__ import annotations

import time

import pytest

from dataharbour import tickets


@pytest.fixture
def ticket(settings) -> str:
    return tickets.issue(settings.home / "run" / "tickets", token="op", now=time.time())


def test_a_ticket_signs_in_once(server, ticket):
    with server.client(None) as browser:
        answer = browser.get("/sign-in", params={"ticket": ticket})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("_token=op;")
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
        assert browser.get("/api/v1/runs").status_code == 200
    with server.client(None) as other:
        assert other.get("/sign-in", params={"ticket": ticket}).status_code == 401


@pytest.mark.parametrize("query", [{}, {"ticket": ""}, {"ticket": "../client.json"}])
def test_who_brings_no_ticket_is_told_to_sign_in(server, query):
    with server.client(None) as anybody:
        answer = anybody.get("/sign-in", params=query)
    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")
    assert "set-cookie" not in answer.headers
