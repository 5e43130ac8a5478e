"""The process that carries a run out is killed, at every step there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from dataharbour.jobs import finalize, outcomes
from dataharbour.jobs.execute import Site
from dataharbour.jobs.model import Detail
from dataharbour.testing.fixtures import Installation, installation
from dataharbour.testing.runs import CALLER, carry_out, sales, sales_request, site_of, starts

__all__ = ["installation"]


@pytest.fixture
def site(installation: Installation) -> Site:
    return site_of(installation)


class Killed(BaseException):
    """The process is gone: nothing catches this."""


class Mortal:
    """Hands calls on to `part`, until `budget` calls are used up; then the process dies."""

    def __init__(self, part: Any, budget: Iterator[int], *, afterwards: bool) -> None:
        self._part = part
        self._budget = budget
        self._afterwards = afterwards

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._part, name)
        if not callable(member):
            return member
        return self._scope(member) if name == "publishing" else self._call(member)

    def _call(self, member: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            last = next(self._budget) == 0
            if last and not self._afterwards:
                raise Killed
            result = member(*args, **kwargs)
            if last:
                raise Killed
            return result

        return call

    def _scope(self, member: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def scope(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with member(*args, **kwargs) as check:
                yield self._call(check)

        return scope


def countdown(start: int) -> Iterator[int]:
    while True:
        yield start
        start -= 1


@pytest.mark.parametrize("afterwards", [False, True], ids=["before", "after"])
def test_killed_at_any_step_a_run_ends_the_same(site, installation, monkeypatch, afterwards):
    """User code starts once, the table appears once, whichever call was the last."""
    monkeypatch.setattr(outcomes, "CLAIM_WITHIN_S", 1.0)
    request = sales_request(installation)
    open_store = finalize.open_store
    survived, step = False, 0
    while not survived:
        (installation.root / "starts").unlink(missing_ok=True)
        budget = countdown(step)
        mortal = replace(site, store=Mortal(site.store, budget, afterwards=afterwards))

        def mortal_store(*args: Any, budget: Iterator[int] = budget, **kwargs: Any) -> Any:
            return Mortal(open_store(*args, **kwargs), budget, afterwards=afterwards)

        caller = replace(CALLER, dag_run_id=f"manual__{step}")
        with monkeypatch.context() as patch:
            patch.setattr(finalize, "open_store", mortal_store)
            try:
                done = carry_out(mortal, request, caller=caller)
                survived = True
            except Killed:  # Airflow has heard of no end: the task comes again
                done = carry_out(site, request, caller=caller)
        for _ in range(2):
            if done.goes_on:
                done = carry_out(site, request, caller=caller)
        run = done.run
        assert run.detail is Detail.SUCCEEDED, step
        assert run.retry_of is None, step
        assert starts(installation) == 1, step
        assert sales(installation) == [0, 1, 2], step
        assert run.result is not None
        assert run.result["tables"]["gold/sales"]["rows"] == 3, step
        step += 1
    assert step > 15, "the steps were counted"
