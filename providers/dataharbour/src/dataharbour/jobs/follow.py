"""Wait for the end of an attempt in place, and pass on what its driver writes.

Reads only: the waiting of a task that expects a short job. A long one goes on
in `watch`, without a process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from dataharbour.jobs.model import AttemptState, Detail
from dataharbour.jobs.outcomes import Outcome, Patience, outcome
from dataharbour.jobs.reading import RunReader

LOG_LINES = 2_000  # of a driver's log in the task log; the whole of it is in the database
_PAGE = 500
_LOOK_EVERY_S = 1.0  # for new log lines; the end of the attempt is heard of at once
_PROGRESS_EVERY_S = 5.0

Emit = Callable[[str], None]


class LogTail:
    """Passes on the lines of one attempt, each once, up to a limit.

    Args:
        store: where the lines are.
        run_id: the run.
        cursor: after which line to begin; see `tail_of`.
        lines_left: how many more lines may be passed on.
        emit: takes one line.
    """

    def __init__(
        self, store: RunReader, run_id: UUID, *, cursor: str, lines_left: int, emit: Emit
    ) -> None:
        self.cursor = cursor
        self.lines_left = lines_left
        self._store = store
        self._run_id = run_id
        self._emit = emit

    def pull(self) -> None:
        """Pass on what is new."""
        while self.lines_left > 0:
            limit = min(_PAGE, self.lines_left)
            page = self._store.logs(self._run_id, cursor=self.cursor, limit=limit)
            for item in page.items:
                self._emit(item.line)
            self.lines_left -= len(page.items)
            self.cursor = page.next or self.cursor
            if self.lines_left == 0:
                self._emit("… and so on: the link 'Driver log' of this task shows all of it")
            if len(page.items) < limit:
                return


class ProgressReport:
    """Says how far a driver is, at most every few seconds, and only what is news."""

    def __init__(self, *, since: float, emit: Emit) -> None:
        self._since = since
        self._emit = emit
        self._said: Mapping[str, Any] | None = None
        self._next_at = 0.0

    def __call__(self, attempt: AttemptState) -> None:
        """Look at an attempt, and say what is new."""
        now = time.time()
        if attempt.progress and attempt.progress != self._said and now >= self._next_at:
            self._emit(progress_text(attempt.progress, elapsed_s=now - self._since))
            self._said, self._next_at = attempt.progress, now + _PROGRESS_EVERY_S


def follow(
    store: RunReader,
    run_id: UUID,
    *,
    patience: Patience,
    seconds: float,
    tail: LogTail,
    report: Callable[[AttemptState], None],
    is_alive: Callable[[str], bool | None],
) -> tuple[AttemptState, Outcome | None]:
    """Wait up to `seconds` for the newest attempt of a run.

    Args:
        store: where the attempt is.
        run_id: the run.
        patience: how long to wait for what.
        seconds: how long to wait in all.
        tail: passes on the log.
        report: told each state that was read.
        is_alive: the backend's; asked for a driver that has not claimed its attempt yet.

    Returns:
        The attempt as last read, and why there is nothing more to wait for, or
        None when only the time is over.
    """
    until = time.monotonic() + seconds
    while True:
        left_s = max(until - time.monotonic(), 0.0)
        attempt = store.wait(run_id, timeout_s=min(left_s, _LOOK_EVERY_S))
        tail.pull()
        report(attempt)
        alive = _alive(attempt, is_alive)
        if alive is False:  # it may have claimed, and ended, since it was looked at
            attempt = store.wait(run_id, timeout_s=0)
        settled = outcome(attempt, patience=patience, alive=alive, now=time.time())
        if settled is not None or left_s == 0:
            return attempt, settled


def tail_of(attempt: AttemptState) -> str:
    """The cursor before the first line of an attempt."""
    return f"{attempt.number}.0"


def progress_text(progress: Mapping[str, Any], *, elapsed_s: float) -> str:
    """One line: what is done, of how much, and after how long; rows where Spark counts them.

    >>> progress_text({"stages_done": 1, "stages": 4, "tasks_done": 9, "tasks": 40}, elapsed_s=12.3)
    '12 s: stages 1/4, tasks 9/40'
    >>> progress_text({"cells_done": 2, "cells": 5}, elapsed_s=12.3)
    '12 s: cells 2/5'
    """
    if "cells" in progress:
        return f"{elapsed_s:.0f} s: cells {progress.get('cells_done', '?')}/{progress['cells']}"
    counts = ("stages_done", "stages", "tasks_done", "tasks")
    text = "{:.0f} s: stages {}/{}, tasks {}/{}".format(
        elapsed_s, *(progress.get(name, "?") for name in counts)
    )
    for name, words in (("rows_read", "rows read"), ("rows_written", "rows written")):
        if name in progress:
            text += f", {progress[name]:,} {words}"
    return text


def _alive(attempt: AttemptState, is_alive: Callable[[str], bool | None]) -> bool | None:
    if attempt.external_id is None or attempt.observed is not Detail.SUBMITTED:
        return None
    return is_alive(attempt.external_id)
