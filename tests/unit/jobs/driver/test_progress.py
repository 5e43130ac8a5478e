"""What is added up, and what is left out. Real Spark is asked in tests/contract/jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dataharbour.jobs.driver.progress import ClassicProgress, ConnectProgress, Watch


@dataclass
class ConnectStage:
    """As pyspark's `StageInfo`."""

    stage_id: int
    num_tasks: int
    num_completed_tasks: int
    num_bytes_read: int = 0
    done: bool = False


class Java:
    """An object of the JVM: each attribute is a method that answers with its value."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        try:
            value = self._values[name]
        except KeyError:
            raise AttributeError(name) from None
        return value if callable(value) else lambda *_: value


class Rows(list):
    """An iterator of the JVM."""

    def hasNext(self):
        return bool(self)

    def next(self):
        return self.pop(0)


def option(value: str | None) -> Java:
    return Java(isDefined=value is not None, get=value)


def status(word: str) -> Java:
    return Java(toString=word)


def stage(number: int, word: str, done: int, tasks: int, **counts: Any) -> Java:
    values = {
        "attemptId": 0, "inputRecords": 0, "inputBytes": 0, "outputRecords": 0,
        "outputBytes": 0, "name": "count at /home/ana/jobs/sales.py:7", "description": None,
    } | counts  # fmt: skip
    values["description"] = option(values["description"])
    return Java(
        stageId=number, status=status(word), numCompleteTasks=done, numTasks=tasks, **values
    )


class Context:
    """A SparkContext whose status store knows `stages`, newest last."""

    def __init__(self) -> None:
        self.stages: list[Java] = []
        self.asked: list[int] = []
        self.stopped = False
        store = Java(stageList=lambda *_: Java(iterator=self._iterator()))
        self._jsc = Java(sc=Java(statusStore=store, listenerBus=Java(waitUntilEmpty=None)))
        self._gateway = _Gateway()

    def stop(self) -> None:
        self.stages.clear()
        self.stopped = True

    def _iterator(self) -> Rows:
        rows = Rows(reversed(self.stages))
        take = rows.next
        rows.next = lambda: self._noted(take())
        return rows

    def _noted(self, row: Java) -> Java:
        self.asked.append(row.stageId())
        return row


class _Gateway:
    class jvm:
        double = None

        class java:
            class util:
                ArrayList = list

    def new_array(self, *_: Any) -> list[float]:
        return []


def watched(*stages: Java):
    sent: list[dict[str, Any]] = []
    context = Context()
    context.stages = list(stages)
    return context, ClassicProgress(context, lambda **message: sent.append(message)), sent


def test_connect_tells_the_bytes_that_were_read_and_no_rows():
    sent: list[dict[str, Any]] = []
    progress = ConnectProgress(lambda **message: sent.append(message))
    progress(stages=[ConnectStage(0, 4, 4, 900, True), ConnectStage(1, 2, 1)], operation_id="a")
    progress(stages=[ConnectStage(2, 1, 1, 100, True)], operation_id="b", done=True)
    assert sent[0] == {
        "kind": "progress", "stages_done": 1, "stages": 2, "tasks_done": 5, "tasks": 6,
        "bytes_read": 900, "current": "stage 1: 1 of 2 tasks",
    }  # fmt: skip
    assert (sent[1]["bytes_read"], sent[1]["tasks"], "current" in sent[1]) == (1000, 7, False)


def test_what_the_server_told_last_is_no_end():
    sent: list[dict[str, Any]] = []
    progress = ConnectProgress(lambda **message: sent.append(message))
    progress(stages=[ConnectStage(0, 4, 4), ConnectStage(1, 2, 0)], operation_id="a")
    progress(stages=[ConnectStage(0, 4, 4), ConnectStage(1, 2, 0)], operation_id="a", done=True)
    assert (sent[-1]["tasks_done"], sent[-1]["stages_done"], "current" in sent[-1]) == (6, 2, False)
    progress(stages=[ConnectStage(2, 8, 3)], operation_id="b")
    try:
        raise ValueError("the query failed")
    except ValueError:
        progress(stages=[ConnectStage(2, 8, 3)], operation_id="b", done=True)
    assert (sent[-1]["tasks_done"], sent[-1]["tasks"]) == (9, 14)


def test_an_operation_whose_end_is_told_twice_counts_once():
    sent: list[dict[str, Any]] = []
    progress = ConnectProgress(lambda **message: sent.append(message))
    for _ in range(3):
        progress(stages=[ConnectStage(0, 4, 4, 900, True)], operation_id="a", done=True)
    progress(stages=[ConnectStage(1, 2, 1)], operation_id="b")
    assert (sent[-1]["stages"], sent[-1]["tasks"], sent[-1]["bytes_read"]) == (2, 6, 900)


def test_a_job_of_very_many_stages_keeps_a_sum_and_not_each():
    context, progress, sent = watched()
    for number in range(0, 500, 5):
        context.stages = [stage(n, "COMPLETE", 1, 1, outputRecords=2) for n in range(number + 5)]
        progress.look()
    assert (sent[-1]["stages"], sent[-1]["rows_written"]) == (500, 1000)
    assert len(progress._stages) < 10


def test_a_zero_of_spark_is_left_out():
    sent: list[dict[str, Any]] = []
    ConnectProgress(lambda **message: sent.append(message))(stages=[ConnectStage(0, 1, 1, 0)])
    assert set(sent[0]) == {"kind", "stages_done", "stages", "tasks_done", "tasks"}


def test_what_pyspark_says_otherwise_one_day_does_not_reach_the_query():
    ConnectProgress(lambda **_: None)(stages=[object()], operation_id=None, new="argument")


def test_a_context_tells_rows_and_bytes_of_all_its_stages():
    _, progress, sent = watched(
        stage(0, "COMPLETE", 4, 4, inputRecords=1000, inputBytes=50, outputRecords=20),
        stage(1, "SKIPPED", 0, 9),
        stage(2, "ACTIVE", 1, 2, inputRecords=5, outputBytes=7),
    )
    progress.look()
    assert sent == [{
        "kind": "progress", "stages_done": 1, "stages": 2, "tasks_done": 5, "tasks": 6,
        "rows_read": 1005, "bytes_read": 50, "rows_written": 20, "bytes_written": 7,
        "current": "stage 2 (count at sales.py:7): 1 of 2 tasks",
    }]  # fmt: skip


def test_stages_that_are_over_are_asked_once():
    context, progress, _ = watched(stage(0, "COMPLETE", 1, 1), stage(1, "ACTIVE", 0, 1))
    progress.look()
    context.asked.clear()
    context.stages = [
        stage(0, "COMPLETE", 1, 1), stage(1, "COMPLETE", 1, 1), stage(2, "ACTIVE", 0, 1)
    ]  # fmt: skip
    progress.look()
    assert context.asked.count(2) >= 1
    assert set(context.asked) == {0, 1, 2}, "0 only to see that it is over"
    context.asked.clear()
    progress.look()
    assert 0 not in context.asked


def test_what_the_store_forgets_stays_counted():
    context, progress, sent = watched(stage(0, "COMPLETE", 1, 1, outputRecords=10))
    progress.look()
    context.stages = [stage(1, "COMPLETE", 1, 1, outputRecords=5)]
    progress.look()
    assert sent[-1]["rows_written"] == 15


def test_of_a_stage_that_was_repeated_the_newest_attempt_counts():
    _, progress, sent = watched(
        stage(3, "FAILED", 1, 4, outputRecords=3),
        stage(3, "COMPLETE", 4, 4, attemptId=1, outputRecords=8),
    )
    progress.look()
    assert (sent[0]["stages"], sent[0]["rows_written"]) == (1, 8)


def test_the_last_rows_are_read_before_the_context_stops():
    context, _, sent = watched()
    context.stages = [stage(0, "COMPLETE", 1, 1, outputRecords=10)]
    context.stop()
    assert context.stopped
    assert sent[-1]["rows_written"] == 10


def test_a_place_inside_spark_is_no_name_and_a_description_is():
    for name, description, shown in [
        ("parquet at NativeMethodAccessorImpl.java:0", None, "stage 0 (parquet): "),
        ("$anonfun$x$1 at CompletableFuture.java:1768", None, "stage 0: "),
        ("count at x.py:1", "load  the\nsales", "stage 0 (load the sales): "),
    ]:
        _, progress, sent = watched(stage(0, "ACTIVE", 0, 1, name=name, description=description))
        progress.look()
        assert sent[0]["current"] == shown + "0 of 1 tasks"


def test_a_jvm_that_is_gone_is_no_error():
    context, progress, sent = watched(Java())
    progress.look()
    context.stop()
    assert sent == []


def test_an_application_without_spark_is_not_watched():
    watch = Watch(lambda **_: None)
    watch.start()
    watch.end()
    assert not watch._thread.is_alive()
