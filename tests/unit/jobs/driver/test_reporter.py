"""The reporter on a real database whose answers get lost."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from dataharbour.jobs.driver import reporter
from dataharbour.jobs.driver.spec import DriverSpec
from dataharbour.jobs.driver.verdict import Verdict
from dataharbour.jobs.model import Detail

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Forgetful(reporter.Reporter):
    """Loses the answer to its first batch of lines; meanwhile more lines come."""

    meanwhile: list[str]

    def _call(self, query: str, values: list[Any]) -> Any:
        answer = super()._call(query, values)
        if "driver.log" in query and self.meanwhile:
            lines, self.meanwhile = self.meanwhile, []
            self.log("stdout", lines)
            raise psycopg.OperationalError("the answer is lost")
        return answer


@pytest.fixture
def spec(store, new_run, driver_database) -> DriverSpec:
    grant = store.start_attempt(new_run().id, backend="plain", now=NOW)
    return DriverSpec(
        conninfo=driver_database,
        run_id=str(grant.run_id),
        attempt_id=str(grant.attempt_id),
        token=grant.token,
        folder="",
        command=[],
        environment={},
        secrets=["k3y-of-lake"],
    )


@pytest.fixture
def claimed(spec) -> Iterator[Callable[..., reporter.Reporter]]:
    """A reporter that has the attempt."""
    made: list[reporter.Reporter] = []
    ends = os.pipe2(os.O_NONBLOCK)

    def make(kind: type[reporter.Reporter] = reporter.Reporter) -> reporter.Reporter:
        made.append(kind(spec, wake=ends[1]))
        assert made[0].claim()
        return made[0]

    yield make
    for driver in made:
        driver._drop_connection()
    for end in ends:
        os.close(end)


def test_lines_that_are_sent_again_take_no_others_place(spec, claimed, store, monkeypatch):
    monkeypatch.setattr(reporter, "MAX_WAITING_LINES", 100)
    sent, later = [str(i) for i in range(10)], [str(i) for i in range(10, 260)]
    driver = claimed(Forgetful)
    driver.meanwhile = later
    driver.log("stdout", sent)
    driver.start()
    assert driver.finish(Verdict("SUCCEEDED", 0), patience_s=20)
    lines = [line.line for line in store.logs(spec.run_id).items]
    assert lines[:10] == sent
    assert re.match(r"\(150 lines were dropped", lines[10])
    assert lines[11:] == later[150:]


def test_the_end_is_cleaned_whoever_wrote_it(spec, claimed, store):
    driver = claimed()
    driver.start()
    verdict = Verdict("FAILED", 1, "USER_ERROR", "no k3y-of-lake\0 here")
    assert driver.finish(verdict, patience_s=20)
    state = store.wait(spec.run_id, timeout_s=1)
    assert (state.observed, state.failure.message) == (Detail.FAILED, "no *** here")


def test_an_end_that_the_database_has_not_taken_is_no_success(claimed, database):
    driver = claimed()
    driver.start()
    with psycopg.connect(database) as admin:
        admin.execute("lock table run in access exclusive mode")
        assert not driver.finish(Verdict("SUCCEEDED", 0), patience_s=0.5)
    assert driver.finish(Verdict("SUCCEEDED", 0), patience_s=20)
