from __future__ import annotations

import io

import pytest

from dataharbour.platform.bootstrap.progress import Progress, describe


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_a_line_appears_every_few_seconds():
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock)
    for done in range(0, 120_000_001, 5_000_000):
        progress.show("pyspark", done_bytes=done, total_bytes=400_000_000)
        clock.now += 0.5
    assert stream.getvalue().splitlines() == [
        "  pyspark: 50 MB of 400 MB, 10 MB/s, 35 s left",
        "  pyspark: 100 MB of 400 MB, 10 MB/s, 30 s left",
    ]


def test_what_was_there_before_does_not_count_for_the_rate():
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock)
    progress.show("pyspark", done_bytes=300_000_000, total_bytes=400_000_000)
    clock.now += 5
    progress.show("pyspark", done_bytes=350_000_000, total_bytes=400_000_000)
    assert stream.getvalue() == "  pyspark: 350 MB of 400 MB, 10 MB/s, 5 s left\n"


def test_work_that_is_quick_is_not_talked_about():
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock)
    for label in ("a", "b", "c"):
        clock.now += 3
        progress.show(label)
    assert stream.getvalue() == ""


def test_on_a_terminal_a_bar_is_drawn_and_gives_way_to_lines():
    stream, clock = Terminal(), Clock()
    progress = Progress(stream, clock=clock)
    progress.show("uv", done_bytes=5_000_000, total_bytes=10_000_000)
    clock.now += 1
    progress.show("uv", done_bytes=10_000_000, total_bytes=10_000_000)
    progress.say("done")
    assert "[############            ] uv: 5 MB of 10 MB" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[Kdone\n")


@pytest.mark.parametrize(
    ("done", "total", "rate", "text"),
    [
        (0, 0, 0, "x: 1 min 15 s"),
        (2_000_000, 0, 1e6, "x: 2 MB, 1 MB/s"),
        (1_500_000_000, 3_000_000_000, 15e6, "x: 1.5 GB of 3.0 GB, 15 MB/s, 1 min 40 s left"),
        (10_000_000, 10_000_000, 10e6, "x: 10 MB of 10 MB, 10 MB/s"),
    ],
)
def test_a_line_says_done_total_rate_and_time_left(done, total, rate, text):
    assert describe("x", 75, done, total, rate=rate) == text
