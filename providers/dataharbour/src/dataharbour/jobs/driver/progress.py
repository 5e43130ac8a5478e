"""Watch the Spark session of this process and say how far it is.

Runs in a thread of the child. Looks at modules that the application has
imported; imports none itself, so an application without Spark pays nothing.
Both attributes it reads (`_default_session`, `_active_spark_context`) are
private to pyspark: a test holds them for the pinned release.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

_LOOK_EVERY_S = 0.2
_POLL_EVERY_S = 1.0

Send = Callable[..., None]
Counts = tuple[int, int, int, int]  # stages done, stages, tasks done, tasks


def watch(send: Send, stop: threading.Event) -> None:
    """Wait for a session, then report its progress until `stop`."""
    while not stop.wait(_LOOK_EVERY_S):
        session = _attribute("pyspark.sql.connect.session", "SparkSession", "_default_session")
        if session is not None:
            session.registerProgressHandler(ConnectProgress(send))
            return
        context = _attribute("pyspark.core.context", "SparkContext", "_active_spark_context")
        if context is not None:
            _poll(context, send, stop)
            return


class ConnectProgress:
    """Adds up what Spark Connect tells of each operation."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._operations: dict[str, Counts] = {}

    def __call__(
        self, *, stages: Any = None, operation_id: str | None = None, **_others: Any
    ) -> None:
        """Called by pyspark during a query, with these names; must never raise into it."""
        with contextlib.suppress(Exception):
            counted = [(s.num_completed_tasks, s.num_tasks) for s in stages or ()]
            if counted:
                self._operations[operation_id or ""] = (
                    sum(tasks_done >= tasks for tasks_done, tasks in counted),
                    len(counted),
                    sum(tasks_done for tasks_done, _ in counted),
                    sum(tasks for _, tasks in counted),
                )
                self._send(kind="progress", **_total(self._operations.values()))


def _poll(context: Any, send: Send, stop: threading.Event) -> None:
    """Ask the status tracker of a classic SparkContext once a second.

    It names only jobs it still keeps (1,000 by default) and stages by id.
    """
    seen: dict[int, Counts] = {}
    while not stop.wait(_POLL_EVERY_S):
        with contextlib.suppress(Exception):  # the JVM is not ready yet, or ends while we ask
            tracker = context.statusTracker()
            for stage_id in tracker.getActiveStageIds():
                info = tracker.getStageInfo(stage_id)
                if info is not None:
                    seen[stage_id] = (0, 1, info.numCompletedTasks, info.numTasks)
            active = set(tracker.getActiveStageIds())
            for stage_id in seen.keys() - active:
                tasks = seen[stage_id][3]
                seen[stage_id] = (1, 1, tasks, tasks)
            if seen:
                send(kind="progress", **_total(seen.values()))


def _total(counts: Iterable[Counts]) -> dict[str, int]:
    sums = map(sum, zip(*counts, strict=True))
    return dict(zip(("stages_done", "stages", "tasks_done", "tasks"), sums, strict=True))


def _attribute(module: str, owner: str, name: str) -> Any:
    return getattr(getattr(sys.modules.get(module), owner, None), name, None)
