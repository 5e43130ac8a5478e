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
