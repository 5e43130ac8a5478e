from __future__ import annotations

import io
import signal
import threading

import pytest

from dataharbour.platform import steps
from dataharbour.platform.report import Report
from dataharbour.platform.steps import Step, Stopped


def run_all(given: list[Step], report: Report) -> None:
    steps.run_all(given, report, stop=threading.Event())


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


@pytest.fixture
def interruptible():
    """A test run in a shell's background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("end", ["a failure", "Ctrl-C"])
@pytest.mark.usefixtures("interruptible")
def test_a_step_that_waits_ends_with_the_others(end):
    stop, waits, stream = threading.Event(), threading.Event(), io.StringIO()

    def wait() -> str:
        waits.set()
        if stop.wait(20):
            raise Stopped
        return "nobody said stop"

    def break_off() -> str:
        waits.wait(20)
        if end == "a failure":
            raise RuntimeError("no disk")
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        raise Stopped

    with pytest.raises(RuntimeError if end == "a failure" else KeyboardInterrupt):
        steps.run_all(
            [Step("wait", wait), Step("break off", break_off)],
            Report(stream=stream, live=False),
            stop=stop,
        )
    assert stop.is_set()
    assert "wait" not in stream.getvalue()  # it did not fail


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
