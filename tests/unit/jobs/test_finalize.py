from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataharbour.errors import Conflict, JobFailed, Unavailable
from dataharbour.jobs import attempts
from dataharbour.jobs import finalize as finalizing
from dataharbour.jobs.finalize import discard, finalize
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.jobs.model import Output, Run
from dataharbour.jobs.row_counts import count_rows
from dataharbour.storage.folder import FolderStore

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class CountingGate:
    """Passes everything, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def check(self, root: str) -> dict[str, Any]:
        self.asked.append(root)
        return {"suite": "sales", "verdict": "passed", "rules": 1, "duration_s": 0.1}


@pytest.fixture
def lake(tmp_path):
    (tmp_path / "lake").mkdir()
    return LakeEndpoint((tmp_path / "lake").as_uri())


Stage = Callable[..., tuple[Run, UUID]]


@pytest.fixture
def stage(store, new_run, lake, tmp_path) -> Stage:
    """A run whose driver has staged rows of a table, a file for each list; it and its attempt."""

    def run_with(*files: list[int], table: str = "gold/sales") -> tuple[Run, UUID]:
        run = new_run(outputs=(Output(table),), expectations="sales")
        grant = store.start_attempt(run.id, backend="plain", now=NOW)
        folder = tmp_path / "lake/.attempts" / str(grant.attempt_id) / table
        folder.mkdir(parents=True)
        for number, amounts in enumerate(files):
            pq.write_table(pa.table({"amount": amounts}), folder / f"part-{number}.parquet")
        return run, grant.attempt_id

    return run_with


@pytest.fixture
def staged(stage):
    """5 rows of gold/sales in two files."""
    return stage([1, 2], [3, 4, 5])


def sales(tmp_path: Path) -> list[int]:
    """What a reader that lists the folder sees."""
    files = (tmp_path / "lake/gold/sales").glob("*.parquet")
    return sorted(a for file in files for a in pq.read_table(file)["amount"].to_pylist())


def test_the_gate_looks_at_what_was_staged_and_the_rows_are_counted(store, lake, staged):
    run, attempt_id = staged
    gate = CountingGate()
    result = finalize(store, run, attempt_id, lake=lake, gate=gate, now=NOW)
    assert gate.asked == [f"{lake.uri}/.attempts/{attempt_id}"]
    facts = result["tables"]["gold/sales"]
    assert (facts["rows"], facts["files"]) == (5, 2)
    assert result["quality"]["rules"] == 1


def test_what_is_published_is_not_gated_again(store, lake, staged, tmp_path):
    """The first time was killed before the run's end could be recorded; the staging is gone."""
    run, attempt_id = staged
    first = finalize(store, run, attempt_id, lake=lake, gate=CountingGate(), now=NOW)
    assert not list((tmp_path / "lake").glob(".attempts/*"))
    again = CountingGate()
    assert finalize(store, run, attempt_id, lake=lake, gate=again, now=NOW) == first
    assert again.asked == []


class Killed(BaseException):
    """The process is gone."""


def test_a_retry_after_the_publication_leaves_the_newer_one_alone(
    store, lake, stage, tmp_path, monkeypatch
):
    """Killed while its staging was being removed: half of it is left."""
    run, attempt_id = stage([1, 2], [3])

    def half(*_: object) -> None:
        next((tmp_path / "lake/.attempts" / str(attempt_id)).rglob("part-0.parquet")).unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(finalizing, "discard_staging", half)
        with pytest.raises(Killed):
            finalize(store, run, attempt_id, lake=lake, gate=CountingGate(), now=NOW)
    newer, its_attempt = stage([7, 8])
    finalize(store, newer, its_attempt, lake=lake, gate=CountingGate(), now=NOW)
    result = finalize(store, run, attempt_id, lake=lake, gate=CountingGate(), now=NOW)
    assert sales(tmp_path) == [7, 8]
    assert result["tables"]["gold/sales"]["rows"] == 3, "what it published itself"
    assert not list((tmp_path / "lake").glob(".attempts/*"))


def test_a_run_that_began_earlier_does_not_replace_a_newer_result(store, lake, stage, tmp_path):
    older, newer = stage([1]), stage([2])
    finalize(store, *newer, lake=lake, gate=CountingGate(), now=NOW)
    with pytest.raises(JobFailed, match="which began later than this one"):
        finalize(store, *older, lake=lake, gate=CountingGate(), now=NOW)
    assert sales(tmp_path) == [2]


def test_what_is_published_only_in_part_is_gated_again(store, lake, staged, tmp_path, monkeypatch):
    run, attempt_id = staged

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(attempts.RightToPublish, "complete", killed)
        with pytest.raises(Killed):
            finalize(store, run, attempt_id, lake=lake, gate=CountingGate(), now=NOW)
    gate = CountingGate()
    result = finalize(store, run, attempt_id, lake=lake, gate=gate, now=NOW)
    assert len(gate.asked) == 1
    assert result["tables"]["gold/sales"]["rows"] == 5
    assert sales(tmp_path) == [1, 2, 3, 4, 5]


class SlowGate(CountingGate):
    """Takes until it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go_on = threading.Event(), threading.Event()

    def check(self, root: str) -> dict[str, Any]:
        self.entered.set()
        assert self.go_on.wait(20)
        return super().check(root)


def test_an_attempt_is_finished_by_one_process_at_a_time(store, lake, staged):
    """A worker that was presumed dead, and its retry."""
    run, attempt_id = staged
    slow, second = SlowGate(), CountingGate()
    results: list[dict[str, Any]] = []

    def finish(gate: CountingGate) -> None:
        results.append(finalize(store, run, attempt_id, lake=lake, gate=gate, now=NOW))

    threads = [threading.Thread(target=finish, args=[gate]) for gate in (slow, second)]
    threads[0].start()
    assert slow.entered.wait(20)
    threads[1].start()
    threads[1].join(0.5)
    assert threads[1].is_alive(), "it waits"
    slow.go_on.set()
    for thread in threads:
        thread.join(20)
    assert second.asked == []
    assert len(results) == 2
    assert results[0] == results[1]


def test_nobody_waits_for_ever(store, lake, staged, monkeypatch):
    run, attempt_id = staged
    monkeypatch.setattr(attempts, "LOCK_TIMEOUT_S", 0.2)
    with store.publishing(attempt_id):
        with pytest.raises(Unavailable, match="Another process has been publishing"):
            finalize(store, run, attempt_id, lake=lake, gate=CountingGate(), now=NOW)
        with pytest.raises(Unavailable, match="Another process has been publishing"):
            store.start_attempt(run.id, backend="plain", now=NOW)


@pytest.mark.parametrize("table", ["gold/sales", "gold/sales/eu"])
def test_a_table_is_published_by_one_run_at_a_time(
    store, lake, stage, tmp_path, monkeypatch, table
):
    first, second = stage([1]), stage([2], table=table)
    monkeypatch.setattr(attempts, "LOCK_TIMEOUT_S", 0.2)
    with store.publishing(first[1]) as right:
        right.take_tables(first[0].outputs)
        with pytest.raises(Unavailable, match="Another run has been publishing gold/sales for"):
            finalize(store, *second, lake=lake, gate=CountingGate(), now=NOW)
    assert not (tmp_path / "lake/gold").exists()


def test_tables_that_stand_beside_each_other_are_published_at_once(store, lake, stage):
    first, second = stage([1]), stage([2], table="gold/sales_eu")
    with store.publishing(first[1]) as right:
        right.take_tables(first[0].outputs)
        finalize(store, *second, lake=lake, gate=CountingGate(), now=NOW)


def test_runs_with_the_same_tables_in_another_order_do_not_wait_for_each_other(store, new_run):
    """Both take what they need, again and again; a deadlock would end one with an error."""
    outputs = [Output(f"gold/{name}") for name in "abcdef"]

    def take(tables: list[Output]) -> None:
        attempt = store.start_attempt(new_run().id, backend="plain", now=NOW)
        for _ in range(20):
            with store.publishing(attempt.attempt_id) as right:
                right.take_tables(tables)
        done.append(tables)

    done: list[list[Output]] = []
    threads = [threading.Thread(target=take, args=[t]) for t in (outputs, outputs[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 2


def test_old_files_that_a_lake_keeps_go_with_the_next_publication(
    store, lake, stage, tmp_path, monkeypatch
):
    def refuse(*_: object) -> None:
        raise Unavailable("The store deletes nothing now.", "-")

    finalize(store, *stage([1]), lake=lake, gate=CountingGate(), now=NOW)
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "delete", refuse)
        second = stage([2])
        with pytest.raises(Unavailable, match="deletes nothing"):
            finalize(store, *second, lake=lake, gate=CountingGate(), now=NOW)
        finalize(store, *second, lake=lake, gate=CountingGate(), may_retry=False, now=NOW)
    assert sales(tmp_path) == [1, 2]
    finalize(store, *stage([3]), lake=lake, gate=CountingGate(), now=NOW)
    assert sales(tmp_path) == [3]


def test_staging_that_is_no_longer_needed_goes_but_a_users_output_stays(
    store, lake, staged, new_run, tmp_path
):
    run, attempt_id = staged
    discard(run, attempt_id, lake=lake)
    assert not list((tmp_path / "lake").glob(".attempts/*"))
    one_off = new_run()
    attempt = store.start_attempt(one_off.id, backend="plain", now=NOW).attempt_id
    result = tmp_path / "lake/.attempts" / str(attempt) / "result.csv"
    result.parent.mkdir(parents=True)
    result.touch()
    discard(one_off, attempt, lake=lake)
    assert result.exists()


def test_staging_that_cannot_be_removed_does_not_change_the_end(lake, staged, monkeypatch):
    def fail(*_: object) -> None:
        raise Unavailable("The store does not answer.", "-")

    monkeypatch.setattr(finalizing, "discard_staging", fail)
    discard(*staged, lake=lake)


def test_an_attempt_that_has_a_successor_publishes_nothing(store, lake, staged, tmp_path):
    run, attempt_id = staged
    store.start_attempt(run.id, backend="plain", now=NOW)
    with pytest.raises(Conflict, match="a newer attempt exists"):
        finalize(store, run, attempt_id, lake=lake, gate=CountingGate(), now=NOW)
    assert not (tmp_path / "lake/gold").exists()


def test_rows_are_counted_in_partitions_and_spark_marks_are_none(lake, tmp_path):
    for month in (1, 2):
        folder = tmp_path / f"lake/x/sales/month={month}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"amount": range(month * 10)}), folder / "part-0.parquet")
    (tmp_path / "lake/x/sales/_SUCCESS").touch()
    (tmp_path / "lake/x/sales/month=1/.part-0.parquet.crc").touch()
    (tmp_path / "lake/x/sales/month=1_$folder$").touch()
    assert count_rows(lake, f"{lake.uri}/x", ["sales", "nothing"]) == {"sales": 30}


def test_a_staged_file_that_is_no_parquet_is_named(lake, tmp_path):
    (tmp_path / "lake/x/sales").mkdir(parents=True)
    (tmp_path / "lake/x/sales/part-0.csv").write_text("a,b\n1,2\n")
    with pytest.raises(JobFailed, match="no Parquet"):
        count_rows(lake, f"{lake.uri}/x", ["sales"])
