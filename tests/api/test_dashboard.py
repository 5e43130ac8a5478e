"""Numbers for an overview: each is counted from the runs that are there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from dataharbour.jobs.model import Detail, RunRequest
from dataharbour.jobs.states import terminal

NOW = datetime.now(UTC)


@pytest.fixture
def ended(server, database):
    """Makes a run that ended so long ago, after so many seconds."""
    store = server.services.runs

    def make(detail: Detail, *, ago: timedelta = timedelta(), seconds=10.0, dag="spark_job"):
        make.count += 1
        run = store.open_run(
            RunRequest(application="hello.py", backend="local"),
            application_sha256="",
            dag_id=dag,
            dag_run_id=f"manual__{make.count}",
            task_id="run",
            principal="ana",
            now=NOW,
        )
        end = NOW - ago
        with psycopg.connect(database) as connection:
            connection.execute(
                "update run set detail = %s, started_at = %s, ended_at = %s where id = %s",
                [detail, end - timedelta(seconds=seconds), end, run.id],
            )
        return run

    make.count = 0
    return make


def test_without_runs_nothing_is_measured(admin):
    stats = admin.get("/api/v1/dashboard/stats").json()
    del stats["since"]
    assert stats == {
        "queued": 0,
        "running": 0,
        "succeeded": 0,
        "failed": 0,
        "cancelled": 0,
        "success_rate": None,
        "duration_p50_s": None,
        "duration_p95_s": None,
    }


def test_stats_count_what_stands_and_what_has_ended_lately(admin, ended):
    admin.post("/api/v1/runs", json={"application": "hello.py"})
    for seconds in (10, 20, 30):
        ended(Detail.SUCCEEDED, seconds=seconds)
    ended(Detail.FAILED)
    ended(Detail.TIMED_OUT, ago=timedelta(days=2))
    ended(Detail.CANCELLED)
    day = admin.get("/api/v1/dashboard/stats").json()
    assert (day["queued"], day["running"]) == (1, 0)
    assert (day["succeeded"], day["failed"], day["cancelled"]) == (3, 1, 1)
    assert (day["success_rate"], day["duration_p50_s"]) == (0.75, 20)
    week = admin.get("/api/v1/dashboard/stats?hours=168").json()
    assert week["failed"] == 2


def test_a_run_counts_as_what_its_state_says(server, admin, database):
    """The overview and the list never tell two stories."""
    with psycopg.connect(database) as connection:
        for detail in (each for each in Detail if not terminal(each)):
            run_id = admin.post("/api/v1/runs", json={"application": "hello.py"}).json()["id"]
            connection.execute("update run set detail = %s where id = %s", [detail, run_id])
    stats = admin.get("/api/v1/dashboard/stats").json()
    for state in ("queued", "running"):
        listed = admin.get("/api/v1/runs", params={"state": state.upper()}).json()["items"]
        assert stats[state] == len(listed) > 0, state


def test_trends_have_every_day(admin, ended):
    ended(Detail.SUCCEEDED, ago=timedelta(days=2), seconds=4)
    ended(Detail.FAILED, ago=timedelta(days=2))
    ended(Detail.SUCCEEDED, ago=timedelta(days=5))
    items = admin.get("/api/v1/dashboard/trends?days=4").json()["items"]
    days = [(NOW - timedelta(days=n)).date().isoformat() for n in (3, 2, 1, 0)]
    assert [item["day"] for item in items] == days
    assert [(item["succeeded"], item["failed"]) for item in items] == [
        (0, 0),
        (1, 1),
        (0, 0),
        (0, 0),
    ]
    assert items[1]["duration_p50_s"] == 4


def test_runs_that_the_caller_may_not_see_are_not_counted(server, ended):
    server.roles.hidden.add("spark_job")
    ended(Detail.SUCCEEDED)
    with server.client("viewer") as viewer:
        assert viewer.get("/api/v1/dashboard/stats").json()["succeeded"] == 0
        items = viewer.get("/api/v1/dashboard/trends").json()["items"]
    assert sum(item["succeeded"] for item in items) == 0


@pytest.mark.parametrize("query", ["stats?hours=0", "stats?hours=x", "trends?days=400"])
def test_a_wrong_span_is_refused(admin, query):
    assert admin.get(f"/api/v1/dashboard/{query}").status_code == 422
