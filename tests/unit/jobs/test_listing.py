"""A page of runs costs what it shows. (Over HTTP: tests/benchmarks/lists.py.)"""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from dataharbour.jobs.model import RunFilter, State
from dataharbour.testing.many_runs import insert_runs

RUNS = 20_000
DAGS = ["spark_job", "job__flights"]


@pytest.fixture
def many(store, database):
    insert_runs(database, dag_ids=DAGS, total=RUNS)
    return store


def page(store, **filters):
    return store.list(RunFilter(dag_ids={*DAGS, "another"}, **filters), limit=100)


def quickest(store, **filters) -> float:
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        page(store, **filters)
        taken.append(time.perf_counter() - began)
    return min(taken)


def test_what_is_rare_is_found_at_the_far_end_of_the_list(many):
    assert len(page(many, job="retired").items) == 100
    assert len(page(many, principal="user-gone", state=State.CANCELLED).items) == 9
    assert page(many, labels={"ticket": "T-777"}).items[0].labels["ticket"] == "T-777"
    oldest = page(many, until=page(many).items[0].created_at - timedelta(minutes=5 * (RUNS - 100)))
    assert {run.labels.get("age") for run in oldest.items} == {"oldest"}
    assert page(many, job="flights_delays", labels={"team": "team-3"}).items == []


@pytest.mark.parametrize(
    "filters",
    [
        {"principal": "nobody"},
        {"principal": "user-gone"},
        {"job": "retired"},
        {"state": State.LOST},
        {"state": State.RUNNING},
        {"labels": {"ticket": "T-777"}},
        {"labels": {"team": "none"}, "state": State.SUCCEEDED},
        {"principal": "user-7", "labels": {"team": "team-3"}},
    ],
    ids=str,
)
def test_a_rare_value_costs_no_more_than_the_newest_page(many, filters):
    """A look at all of the 20,000 rows takes several times as long."""
    assert quickest(many, **filters) < quickest(many) * 2 + 0.002
