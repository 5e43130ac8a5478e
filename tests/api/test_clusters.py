"""The Spark servers over REST: what they say, for whoever may see runs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dataharbour.jobs.clusters import Cluster, Work, Worker

FOUND = [
    Cluster(
        name="standalone",
        state="healthy",
        address="spark://127.0.0.1:17077",
        workers=(Worker("worker-1", "127.0.0.1", "ALIVE", 3, 2, 4096, 1280),),
        applications=(Work("app-1", "RUNNING", 1, datetime(2026, 11, 25, tzinfo=UTC)),),
        drivers=(),
    ),
    Cluster("connect", "unknown", "It did not answer within 2 s.", "sc://localhost:15002"),
]


@pytest.fixture
def asked(server):
    server.clusters.extend(FOUND)
    return server


def listed(server, role: str = "admin"):
    with server.client(role) as client:
        return client.get("/api/v1/clusters")


def test_each_server_tells_what_it_has_or_why_that_is_unknown(asked):
    cluster, connect = listed(asked).json()["items"]
    assert (cluster["cores"], cluster["cores_used"], cluster["memory_used_mb"]) == (3, 2, 1280)
    assert cluster["applications"] == [
        {"id": "app-1", "state": "RUNNING", "cores": 1, "since": "2026-11-25T00:00:00Z",
         "memory_mb": None}
    ]  # fmt: skip
    assert cluster["drivers"] == []
    assert cluster["observed_at"]
    assert (connect["state"], connect["reason"]) == ("unknown", FOUND[1].reason)
    assert connect["cores"] is None
    assert connect["workers"] is None


def test_who_may_see_no_runs_sees_no_servers(asked):
    asked.roles.hidden.add(None)
    answer = listed(asked, "viewer")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_without_servers_the_list_is_empty(server):
    assert listed(server).json() == {"items": [], "next": None}
