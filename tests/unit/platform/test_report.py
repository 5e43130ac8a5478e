from __future__ import annotations

import io

from dataharbour.platform.report import Report


def test_what_a_step_says_is_no_markup():
    stream = io.StringIO()
    report = Report(stream=stream, live=True)
    with report.showing():
        report.waiting("[/spark]", "reading [/some/path]")
    assert "[/spark]" in stream.getvalue()
    assert "reading [/some/path]" in stream.getvalue()


def test_a_step_that_takes_long_says_so_again_and_not_too_often(monkeypatch):
    now = 100.0
    monkeypatch.setattr("dataharbour.platform.report.time.monotonic", lambda: now)
    stream = io.StringIO()
    report = Report(stream=stream, live=False)
    for _ in range(70):
        report.waiting("job", "running")
        now += 1
    report.ready("job", "done")
    report.ready("job", "done")
    lines = [line.split("job: ")[1] for line in stream.getvalue().splitlines()]
    assert lines == ["running"] * 3 + ["done"]
