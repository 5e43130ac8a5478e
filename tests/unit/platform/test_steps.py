from __future__ import annotations

import io
import threading

import pytest

from dataharbour.platform.report import Report
from dataharbour.platform.steps import Step, run_all


def quiet() -> Report:
    return Report(stream=io.StringIO(), live=False)


def test_a_step_runs_after_those_it_needs():
    order: list[str] = []
    run_all(
        [
            Step("second", lambda: order.append("second"), needs=("first",)),
            Step("first", lambda: order.append("first")),
        ],
        quiet(),
    )
    assert order == ["first", "second"]


def test_steps_that_do_not_need_each_other_run_together():
    both = threading.Barrier(2, timeout=5)
    run_all(
        [Step("a", lambda: both.wait() and None), Step("b", lambda: both.wait() and None)], quiet()
    )


def test_after_a_failure_nothing_new_starts_and_the_error_comes_out():
    ran: list[str] = []

    def fail() -> str:
        raise RuntimeError("no disk")

    with pytest.raises(RuntimeError, match="no disk"):
        run_all([Step("a", fail), Step("b", lambda: ran.append("b"), needs=("a",))], quiet())
    assert ran == []


def test_an_unknown_need_is_refused_before_anything_runs():
    ran: list[str] = []
    with pytest.raises(ValueError, match="nobody"):
        run_all(
            [Step("a", lambda: ran.append("a")), Step("b", lambda: None, needs=("nobody",))],
            quiet(),
        )
    assert ran == []


def test_the_report_says_each_result_once_in_plain_lines():
    stream = io.StringIO()
    report = Report(stream=stream, live=False)
    run_all([Step("postgres", lambda: "127.0.0.1:15432")], report)
    report.ready("postgres", "127.0.0.1:15432")
    assert stream.getvalue().count("postgres: 127.0.0.1:15432") == 1


def test_waiting_is_told_at_most_every_few_seconds():
    stream = io.StringIO()
    report = Report(stream=stream, live=False)
    for attempt in range(100):
        report.waiting("spark", f"try {attempt}")
    assert stream.getvalue().count("spark") == 1
