"""The process that carries a run out is killed, at every step there is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from pyarrow import parquet

from dataharbour.jobs import finalize
from dataharbour.jobs.caller import Caller
from dataharbour.jobs.conclude import Conclusion, conclude
from dataharbour.jobs.execute import begin, open_run
from dataharbour.jobs.finalize import Gate
from dataharbour.jobs.follow import LogTail, follow, tail_of
from dataharbour.jobs.model import Detail, RunRequest
from dataharbour.jobs.outcomes import patience
from dataharbour.jobs.site import Site
from dataharbour.jobs.states import terminal
from dataharbour.testing import mortal
from dataharbour.testing.fixtures import Installation, installation
from dataharbour.testing.mortal import Killed, Life
from dataharbour.testing.plain_backend import PlainBackend
from dataharbour.testing.runs import CALLER, carry_out, sales, sales_request, site_of, starts

__all__ = ["installation"]

TWO_FILES = "    shutil.copy(table, folder / 'part-1.parquet')\n"


@pytest.fixture
def site(installation: Installation) -> Site:
    return site_of(installation, PlainBackend(claim_within_s=1.0))


class Mortal(mortal.Mortal):
    """The right to publish, which is asked before each step, is mortal as well."""

    @contextmanager
    def publishing(self, attempt_id: Any) -> Iterator[Mortal]:
        with self._part.publishing(attempt_id) as right:
            yield Mortal(right, self._life)


def task(site: Site, request: RunRequest, caller: Caller, life: Life, *, deferred: bool) -> None:
    """One try of a task, in place or with a deferral, as the operator goes about it."""
    run = open_run(site, request, caller=caller)
    assert not terminal(run.detail)
    attempt = begin(site, run)
    wait = patience(claim_within_s=1.0, timeout_s=None, now=time.time())
    tail = LogTail(site.store, run.id, cursor=tail_of(attempt), lines_left=100, emit=print)
    attempt, why = follow(
        site.store,
        run.id,
        patience=wait,
        seconds=30,
        tail=tail,
        report=lambda _: None,
        is_alive=site.backend_of(run.backend).is_alive,
    )
    assert why is not None
    if deferred:  # what the triggerer saw comes back to `execute_complete`
        attempt = site.store.attempt_state(attempt.attempt_id)
        run = site.store.get(attempt.run_id)
        LogTail(site.store, run.id, cursor=tail.cursor, lines_left=1, emit=print).pull()
    gate: Any = Mortal(Gate.of(run, site.lake, site.settings.include_dir), life)
    done = conclude(site, run, attempt, why, caller=caller, gate=gate)
    assert done.run.detail is Detail.SUCCEEDED, done


def published(installation: Installation) -> list[int]:
    """What a reader of the table's record sees."""
    folder = installation.lake / "gold/sales"
    record = folder / "_published.json"
    files = json.loads(record.read_text())["files"] if record.exists() else []
    return [n for file in files for n in parquet.read_table(folder / file)["amount"].to_pylist()]


def taken_up(site: Site, request: RunRequest, caller: Caller) -> Conclusion:
    """What the next tries of the task make of it."""
    done = carry_out(site, request, caller=caller)
    for _ in range(2):
        if done.goes_on:
            done = carry_out(site, request, caller=caller)
    return done


@pytest.mark.parametrize(
    ("afterwards", "deferred"),
    [pytest.param(False, False, id="before, in place"), pytest.param(True, True, id="after")],
)
def test_killed_at_any_step_a_run_ends_the_same(
    site, installation, monkeypatch, afterwards, deferred
):
    """User code starts once, the table has its rows once, whichever call was the last."""
    open_lake, count_rows = finalize.open_lake, finalize.count_rows
    backend = site.backend_of("local")
    survived, step, before = False, 0, []
    while not survived:
        (installation.root / "starts").unlink(missing_ok=True)
        request = sales_request(installation, count=step + 1, then=TWO_FILES)
        expected = sorted([*range(step + 1)] * 2)
        life = Life(step, afterwards=afterwards)
        caller = replace(CALLER, dag_run_id=f"manual__{step}")
        with monkeypatch.context() as patch:
            patch.setattr(finalize, "open_lake", lambda lake, life=life: Mortal(
                open_lake(lake), life))  # fmt: skip
            patch.setattr(finalize, "count_rows", Mortal(count_rows, life))
            mortal: Any = replace(
                site,
                store=Mortal(site.store, life),
                backend_of=lambda _, life=life: Mortal(backend, life),
            )
            try:
                task(mortal, request, caller, life, deferred=deferred)
                survived = True
            except Killed:  # Airflow has heard of no end: the task comes again
                pass
        assert sorted(published(installation)) in (before, expected), step
        run = taken_up(site, request, caller).run
        assert run.detail is Detail.SUCCEEDED, step
        assert run.retry_of is None, step
        assert starts(installation) == 1, step
        assert sorted(sales(installation)) == sorted(published(installation)) == expected, step
        assert run.result is not None
        assert run.result["tables"]["gold/sales"]["rows"] == len(expected), step
        assert not list(installation.lake.glob(".attempts/*")), step
        step, before = step + 1, expected
    assert step > 30, "the steps were counted"
