from __future__ import annotations

import pytest

from dataharbour.jobs.driver.verdict import Evidence, Stop, judge

REPORT = ("USER_ERROR", "KeyError: 'k'")
LOST_JVM = ("INFRA", "Py4JNetworkError: Answer from Java side is empty")
LOST_WORKER = ("USER_ERROR", "SparkException: Python worker exited unexpectedly (crashed)")


@pytest.mark.parametrize(
    ("evidence", "state", "failure_class"),
    [
        (Evidence(0), "SUCCEEDED", None),
        (Evidence(0, stop=Stop.CANCELLED), "SUCCEEDED", None),
        (Evidence(0, report=REPORT), "SUCCEEDED", None),
        (Evidence(7), "FAILED", "USER_ERROR"),
        (Evidence(1, report=REPORT), "FAILED", "USER_ERROR"),
        (Evidence(1, report=("INFRA", "x")), "FAILED", "INFRA"),
        (Evidence(143, stop=Stop.CANCELLED, report=REPORT), "CANCELLED", "CANCELLED"),
        (Evidence(137, stop=Stop.TIMEOUT, timeout_s=60), "TIMED_OUT", "TIMEOUT"),
        (Evidence(137, stop=Stop.FENCED), "FAILED", "INFRA"),
        (Evidence(143, stop=Stop.TERMINATED), "FAILED", "INFRA"),
        (Evidence(143), "FAILED", "INFRA"),
        (Evidence(137), "FAILED", "INFRA"),
        (Evidence(137, oom_kills=1), "FAILED", "OUT_OF_MEMORY"),
        (Evidence(1, tail=("java.lang.OutOfMemoryError: x",)), "FAILED", "OUT_OF_MEMORY"),
        (Evidence(1, report=LOST_JVM, tail=("java.lang.OutOfMemoryError: x",)), "FAILED",
         "OUT_OF_MEMORY"),
        (Evidence(1, report=REPORT, tail=("java.lang.OutOfMemoryError: x",)), "FAILED",
         "USER_ERROR"),
        (Evidence(137, report=LOST_JVM, oom_kills=1), "FAILED", "OUT_OF_MEMORY"),
        (Evidence(1, report=LOST_JVM, oom_kills=1), "FAILED", "INFRA"),
        (Evidence(1, report=LOST_WORKER, oom_kills=1), "FAILED", "OUT_OF_MEMORY"),
        (Evidence(1, report=LOST_WORKER), "FAILED", "USER_ERROR"),
        (Evidence(139), "FAILED", "USER_ERROR"),
    ],
)  # fmt: skip
def test_the_exit_status_decides_and_the_rest_explains(evidence, state, failure_class):
    verdict = judge(evidence)
    assert (verdict.state, verdict.failure_class) == (state, failure_class)
    assert verdict.exit_code == evidence.exit_code


def test_the_first_line_is_the_cause_and_the_tail_follows():
    verdict = judge(Evidence(3, tail=("one", "two")))
    assert verdict.message == "The application ended with exit code 3.\none\ntwo"


def test_what_took_the_jvm_goes_before_what_its_python_noticed():
    tail = ("java.lang.OutOfMemoryError: Java heap space", "\tat x.y")
    lines = judge(Evidence(52, report=LOST_JVM, tail=tail)).message.splitlines()
    assert lines[:2] == [tail[0], LOST_JVM[1]]


def test_the_limit_is_named():
    assert "within 1.5 s" in judge(Evidence(137, stop=Stop.TIMEOUT, timeout_s=1.5)).message
