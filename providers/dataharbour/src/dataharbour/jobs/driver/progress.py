"""Watch the Spark session of this process and say how far it is.

Runs in a thread of the child. Looks at modules that the application has
imported; imports none itself, so an application without Spark pays nothing.
What it reads is private to pyspark (`_default_session`,
`_active_spark_context`, the JVM's status store): a test holds it for the
pinned release.

Stages and tasks are told on both lanes. Rows and bytes are told where Spark
counts them: a classic SparkContext counts both, Spark Connect tells its client
the bytes read and no rows. What was not counted is left out, and so is a zero,
which Spark gives for "nothing" and for "not counted" alike.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

_LOOK_EVERY_S = 0.2
_POLL_EVERY_S = 0.5
_LAST_LOOK_S = 1.0
_LAST_EVENTS_MS = 500
_MAX_CURRENT = 120

# Where a stage was asked for, when that is a place inside Spark: tells an author nothing.
_INSIDE_SPARK = re.compile(r" at (?:NativeMethodAccessorImpl|CompletableFuture)\.java:\d+$")
_FOLDERS = re.compile(r"(?<= at )\S*/(?=[^/]+$)")

Send = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Stage:
    """What is known of one stage, or of several together; None: not counted."""

    stages_done: int
    stages: int
    tasks_done: int
    tasks: int
    rows_read: int | None = None
    bytes_read: int | None = None
    rows_written: int | None = None
    bytes_written: int | None = None


NOTHING = Stage(0, 0, 0, 0)


class Watch:
    """Reports the progress of the session that the application opens, if it opens one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Begin to look for a session."""
        self._thread.start()

    def end(self) -> None:
        """The application is over: look a last time, but wait for no JVM that hangs."""
        self._ended.set()
        self._thread.join(_LAST_LOOK_S)

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            session = _attribute("pyspark.sql.connect.session", "SparkSession", "_default_session")
            if session is not None:
                session.registerProgressHandler(ConnectProgress(self._send))
                return
            context = _attribute("pyspark.core.context", "SparkContext", "_active_spark_context")
            # The context stands there before it is whole.
            if context is not None and getattr(context, "_jsc", None) is not None:
                self._poll(ClassicProgress(context, self._send))
                return

    def _poll(self, progress: ClassicProgress) -> None:
        while not self._ended.wait(_POLL_EVERY_S):
            progress.look()
        progress.look()


class ConnectProgress:
    """Adds up what Spark Connect tells of each operation."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._operations: dict[str, Stage] = {}
        self._over = NOTHING  # the operations that are done, in one sum
        self._done: set[str] = set()

    def __call__(
        self,
        *,
        stages: Any = None,
        operation_id: str | None = None,
        done: bool = False,
        **_others: Any,
    ) -> None:
        """Called by pyspark during a query, with these names; must never raise into it."""
        with contextlib.suppress(Exception):
            told, operation = list(stages or ()), operation_id or ""
            if operation in self._done:  # its end may be told again
                return
            if told:
                self._operations[operation] = _sum(map(_told_by_connect, told))
            if operation in self._operations:
                if done:
                    self._end(operation)
                current = None if done else next(filter(None, map(_current, told)), None)
                self._send(**_message(_sum([self._over, *self._operations.values()]), current))

    def _end(self, operation: str) -> None:
        """What the server told last is up to seconds old, and names stages that it left out."""
        stage = self._operations.pop(operation)
        if sys.exc_info()[0] is None:  # pyspark calls us while its error is on its way
            stage = replace(stage, stages_done=stage.stages, tasks_done=stage.tasks)
        self._over = _sum([self._over, stage])
        if operation:
            self._done.add(operation)


class ClassicProgress:
    """Asks the status store of a classic SparkContext, which is there without the UI too.

    The store forgets old stages (it keeps 1,000), and all of them when the context
    stops: what was read stays here, and `stop` of the context looks a last time first.
    """

    def __init__(self, context: Any, send: Send) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._stages: dict[int, Stage] = {}
        self._over = NOTHING  # the stages below `_unsettled`, in one sum
        self._unsettled = 0  # all stages below this number are over
        java, gateway = context._jsc.sc(), context._gateway
        self._store = java.statusStore()
        self._events = java.listenerBus()
        self._all = gateway.jvm.java.util.ArrayList()
        self._no_quantiles = gateway.new_array(gateway.jvm.double, 0)
        self._stop = context.stop
        context.stop = self._look_and_stop

    def look(self) -> None:
        """Read the stages that can have changed, and send what is known; never raises."""
        # The JVM is not ready yet, or ends while we ask.
        with contextlib.suppress(Exception), self._lock:
            current = self._read()
            if self._stages:
                self._send(**_message(_sum([self._over, *self._stages.values()]), current))

    def _look_and_stop(self) -> None:
        with contextlib.suppress(Exception):  # events may still be under way to the store
            self._events.waitUntilEmpty(_LAST_EVENTS_MS)
        self.look()
        self._stop()

    def _read(self) -> str | None:
        """Bring `_stages` up to date; one line on the oldest stage that runs."""
        current, unsettled = None, None
        newest_first = self._store.stageList(
            self._all, False, False, self._no_quantiles, self._all
        ).iterator()
        seen: set[int] = set()
        while newest_first.hasNext():
            stage = newest_first.next()
            number, status = stage.stageId(), stage.status().toString()
            if number < self._unsettled:
                break
            if status in ("ACTIVE", "PENDING"):
                unsettled = number
            if number in seen:  # an earlier attempt of it
                continue
            seen.add(number)
            if status == "SKIPPED":  # its result was there already
                self._stages.pop(number, None)
                continue
            self._stages[number] = _told_by_store(stage, status)
            if status == "ACTIVE":
                name = _name(stage)
                current = _line(number, name, stage.numCompleteTasks(), stage.numTasks())
        self._settle(max(seen, default=self._unsettled) if unsettled is None else unsettled)
        return current

    def _settle(self, unsettled: int) -> None:
        """Add up what changes no more: a job may have very many stages."""
        over = [self._stages.pop(number) for number in list(self._stages) if number < unsettled]
        self._over, self._unsettled = _sum([self._over, *over]), unsettled


def _current(stage: Any) -> str | None:
    """One line on a stage of Spark Connect that is not over."""
    if stage.num_completed_tasks >= stage.num_tasks:
        return None
    return _line(stage.stage_id, "", stage.num_completed_tasks, stage.num_tasks)


def _told_by_connect(stage: Any) -> Stage:
    done = stage.num_completed_tasks >= stage.num_tasks
    return Stage(
        int(done),
        1,
        stage.num_completed_tasks,
        stage.num_tasks,
        bytes_read=stage.num_bytes_read or None,
    )


def _told_by_store(stage: Any, status: str) -> Stage:
    return Stage(
        int(status == "COMPLETE"),
        1,
        stage.numCompleteTasks(),
        stage.numTasks(),
        rows_read=stage.inputRecords() or None,
        bytes_read=stage.inputBytes() or None,
        rows_written=stage.outputRecords() or None,
        bytes_written=stage.outputBytes() or None,
    )


def _sum(stages: Iterable[Stage]) -> Stage:
    known = list(stages)
    sums: dict[str, Any] = {}
    for name in Stage.__slots__:
        counted = [value for stage in known if (value := getattr(stage, name)) is not None]
        sums[name] = sum(counted) if counted else None
    return Stage(**sums)


def _message(total: Stage, current: str | None) -> dict[str, Any]:
    told = {name: getattr(total, name) for name in Stage.__slots__}
    told["current"] = current
    return {"kind": "progress"} | {name: v for name, v in told.items() if v is not None}


def _name(stage: Any) -> str:
    """What the author calls the stage (`setJobDescription`), else what asked for it."""
    description = stage.description()
    if description.isDefined():
        return str(description.get())
    name, inside = _INSIDE_SPARK.subn("", str(stage.name()))
    return "" if inside and "$" in name else _FOLDERS.sub("", name)


def _line(number: int, name: str, tasks_done: int, tasks: int) -> str:
    text = " ".join(name.split())[: _MAX_CURRENT - 40]
    return f"stage {number}{f' ({text})' if text else ''}: {tasks_done} of {tasks} tasks"


def _attribute(module: str, owner: str, name: str) -> Any:
    return getattr(getattr(sys.modules.get(module), owner, None), name, None)
