"""How long a page of runs takes when the table holds 100,000, whatever is asked for.

Each question is asked over HTTP of the real API server, many times; what counts is the 95th
percentile of the slowest question. The questions are made to be the worst: rare values, values
that lie at the far end of the list, values that match many runs each and none together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
from bench_platform import BenchPlatform
from psycopg.conninfo import make_conninfo

from dataharbour.testing.many_runs import TOTAL, insert_runs

BASE = "/dataharbour/api/v1"
DAGS = ["spark_job", "job__flights_delays"]  # the caller sees the runs of DAGs that Airflow knows
ASKED = 40  # times each question


def list_figures(platform: BenchPlatform) -> dict[str, Any]:
    """Insert 100,000 runs into the platform's database and ask for pages of them."""
    conninfo = _conninfo(platform.environment)
    insert_runs(conninfo, dag_ids=DAGS)
    questions = {**_questions(datetime.now(UTC)), **_deep_pages(conninfo)}
    with platform.client() as api:
        pages = {name: _p95_ms(api, "runs", asked) for name, asked in questions.items()}
        large = _p95_ms(api, "runs", {"limit": 1000})
        overview = {
            f"dashboard/{name}, p95, ms": _p95_ms(api, f"dashboard/{name}", asked)
            for name, asked in (
                ("stats", {}),
                ("stats?hours=8784", {"hours": 8784}),
                ("trends", {}),
                ("trends?days=366", {"days": 366}),
            )
        }
    slowest = max(pages, key=pages.__getitem__)
    return {
        f"runs in the table, {len(pages)} questions, each asked so many times": (TOTAL, ASKED),
        "any page of 100, p95 of the slowest question, ms": pages[slowest],
        "which was": slowest,
        "newest page of 100, p95, ms": pages["no filter"],
        "newest page of 1000, p95, ms": large,
        **overview,
    }


def _questions(now: datetime) -> dict[str, Mapping[str, Any]]:
    """Combinations of filters, by their name."""
    old, recent = now - timedelta(days=340), now - timedelta(days=1)
    return {
        "no filter": {},
        "a frequent state": {"state": "SUCCEEDED"},
        "a rare state": {"state": "RUNNING"},
        "a state that none has": {"state": "LOST"},
        "a frequent job": {"job": "flights_delays"},
        "a job whose runs are all old": {"job": "retired"},
        "a user whose runs are all old": {"user": "user-gone"},
        "nobody's": {"user": "nobody"},
        "a frequent label": {"label": "team=team-3"},
        "one label of one run": {"label": "ticket=T-777"},
        "a label of old runs": {"label": "age=oldest"},
        "a label that none has": {"label": "team=none"},
        "until long ago": {"until": old.isoformat()},
        "a time without runs": {"since": (now + timedelta(days=1)).isoformat()},
        "a user, long ago, failed": {
            "user": "user-7", "until": old.isoformat(), "state": "FAILED"
        },
        "a job and a label that never meet": {"job": "flights_delays", "label": "team=team-3"},
        "two labels and a job that never meet": {
            "job": "flights_delays", "label": ["team=team-3", "env=prod"], "state": "SUCCEEDED"
        },
        "a user and a label that never meet": {"user": "user-7", "label": "team=team-3"},
        "a state and a label that seldom meet": {"state": "FAILED", "label": "team=team-3"},
        "all five": {
            "state": "FAILED", "job": "flights_delays", "label": "env=prod", "user": "user-8",
            "since": old.isoformat(), "until": recent.isoformat(),
        },
    }  # fmt: skip


def _deep_pages(conninfo: str) -> dict[str, Mapping[str, Any]]:
    """The page in the middle of the list, and the last one."""
    query = "select id from public.run order by id desc offset %s limit 1"
    with psycopg.connect(conninfo) as connection:
        ids = {
            name: str(connection.execute(query, [offset]).fetchone()[0])  # type: ignore[index]
            for name, offset in (("in the middle", TOTAL // 2), ("at the end", TOTAL - 50))
        }
    deep: dict[str, Mapping[str, Any]] = {
        f"{where}, no filter": {"cursor": at} for where, at in ids.items()
    }
    middle = ids["in the middle"]
    return deep | {
        "in the middle, two filters": {"cursor": middle, "user": "user-7", "state": "FAILED"}
    }


def _p95_ms(api: httpx.Client, path: str, asked: Mapping[str, Any]) -> float:
    taken = []
    for _ in range(ASKED):
        began = time.perf_counter()
        api.get(f"{BASE}/{path.partition('?')[0]}", params=dict(asked)).raise_for_status()
        taken.append((time.perf_counter() - began) * 1000)
    return round(sorted(taken)[math.ceil(0.95 * ASKED) - 1], 1)


def _conninfo(environment: Mapping[str, str]) -> str:
    return make_conninfo(
        host=environment["PGHOST"],
        port=environment["PGPORT"],
        user=environment["PGUSER"],
        password=environment["PGPASSWORD"],
        dbname=environment["PGDATABASE"],
    )
