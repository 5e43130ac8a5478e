from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataharbour.errors import Conflict, JobFailed, Unavailable
from dataharbour.jobs.model import Output
from dataharbour.jobs.output import (
    discard_staging,
    publish,
    read_record,
    remove_outdated,
    shown,
    withdraw,
)
from dataharbour.jobs.publication import Record, publisher_tag
from dataharbour.storage.folder import FolderStore

NOW = datetime(2026, 11, 23, tzinfo=UTC)
OUTPUTS = (Output("silver/flights", ("month",)), Output("gold/delays"))
OLD = {
    "silver/flights/month=1": [b"old 1"],
    "silver/flights/month=9": [b"old 9"],
    "gold/delays": [b"old gold", b"old gold 2"],
    "gold/other": [b"not ours"],
}
NEW = {
    "silver/flights/month=1": [b"new 1"],
    "silver/flights/month=2": [b"new 2"],
    "gold/delays": [b"new gold"],
    "gold/other": [b"not ours"],
}


class Killed(BaseException):
    """The process ends here."""


class MortalStore(FolderStore):
    """At its n-th change `fate` strikes, before it or right after it."""

    def __init__(self, root: Path, *, at: int, after: bool, fate: Callable[[], None]) -> None:
        super().__init__(root)
        self.left, self.after, self.fate = at, after, fate

    def _change(self, call, *args) -> None:
        self.left -= 1
        if self.left == 0 and not self.after:
            self.fate()
        call(*args)
        if self.left == 0 and self.after:
            self.fate()

    def put(self, key, data):
        self._change(super().put, key, data)

    def copy(self, source, target):
        self._change(super().copy, source, target)

    def delete(self, keys):
        for key in keys:
            self._change(super().delete, [key])


def die() -> None:
    raise Killed


def mortal(lake: Path, *, at: int, after: bool) -> MortalStore:
    return MortalStore(lake, at=at, after=after, fate=die)


def stage(lake: Path, attempt_id: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        FolderStore(lake).put(f".attempts/{attempt_id}/{name}", data)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    lake = tmp_path / "lake"
    for number, (folder, contents) in enumerate(OLD.items()):
        for data in contents:
            name = f"{folder}/part-{len(list(lake.rglob('*')))}-{number}.parquet"
            FolderStore(lake).put(name, data)
    for output in OUTPUTS:
        record = {"publication": 6, "attempt": "6", "files": []}
        FolderStore(lake).put(f"{output.table}/_published.json", json.dumps(record).encode())
    new = {
        "silver/flights/month=1/part-00000-x.c000.parquet": b"new 1",
        "silver/flights/month=2/part-00001-x.c000.parquet": b"new 2",
        "silver/flights/_SUCCESS": b"",
        "gold/delays/part-00000-y.c000.parquet": b"new gold",
    }
    stage(lake, "7", new)
    stage(lake, "8", {"gold/delays/part-0.parquet": b"newer gold"})
    return lake


def do_publish(
    store: FolderStore, *, attempt_id: str = "7", outputs=OUTPUTS, check=lambda: None
) -> dict[str, Record]:
    records = publish(
        store,
        outputs,
        attempt_id=attempt_id,
        publication=int(attempt_id),
        check=check,
        rows={"gold/delays": 16},
        now=NOW,
    )
    remove_outdated(store, [o.table for o in outputs], attempt_id=attempt_id, check=check)
    return records


def content(lake: Path) -> dict[str, list[bytes]]:
    """What is in all tables, by folder; no staging, no records."""
    store, found = FolderStore(lake), {}
    keys = sorted(found.key for found in store.objects())
    for key in keys:
        if not key.startswith(".") and "/_" not in key:
            found.setdefault(key.rpartition("/")[0], []).append(store.read(key))
    return found


def listed(lake: Path, table: str) -> list[bytes]:
    """What a reader of the record sees."""
    record = read_record(FolderStore(lake), table)
    assert record is not None
    return [FolderStore(lake).read(f"{table}/{name}") for name in record.files]


def test_staged_files_become_the_content(lake):
    published = do_publish(FolderStore(lake))
    assert content(lake) == NEW
    assert [(t, len(r.files), r.bytes, r.rows) for t, r in published.items()] == [
        ("silver/flights", 2, 10, None),
        ("gold/delays", 1, 8, 16),
    ]


def test_the_record_says_what_is_there(lake):
    do_publish(FolderStore(lake))
    [file] = (lake / "gold/delays").glob("*.parquet")
    assert json.loads((lake / "gold/delays/_published.json").read_text()) == {
        "publication": 7,
        "attempt": "7",
        "files": [file.name],
        "bytes": 8,
        "rows": 16,
        "published_at": "2026-11-23T00:00:00+00:00",
    }


def test_names_are_never_used_twice(lake):
    first = do_publish(FolderStore(lake))
    second = do_publish(FolderStore(lake))
    assert content(lake) == NEW
    for table, record in first.items():
        assert not set(record.files) & set(second[table].files)


def test_the_staging_stays_until_it_is_discarded(lake):
    do_publish(FolderStore(lake))
    assert list(FolderStore(lake).objects(".attempts/7/"))
    discard_staging(FolderStore(lake), "7")
    assert [o.key for o in FolderStore(lake).objects(".attempts/")] == [
        ".attempts/8/gold/delays/part-0.parquet"
    ]


# Changes of one publication, of two tables: copies, records, what is deleted.
STEPS = (2 + 1) + (1 + 1) + (2 + 2)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_publication_that_was_killed_at_any_step_is_completed_by_the_next(lake, step, after):
    with pytest.raises(Killed):
        do_publish(mortal(lake, at=step, after=after))
    do_publish(FolderStore(lake))
    assert content(lake) == NEW


def test_the_steps_are_all_of_them(lake):
    do_publish(mortal(lake, at=STEPS + 1, after=True))


@pytest.mark.parametrize(("first", "second"), [*itertools.product([3, 6, 9], [2, 5, 8])])
def test_it_may_be_killed_twice(lake, first, second):
    for step in (first, second):
        with pytest.raises(Killed):
            do_publish(mortal(lake, at=step, after=True))
    do_publish(FolderStore(lake))
    assert content(lake) == NEW


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_reader_of_the_record_sees_one_publication_at_any_step(lake, step, after):
    do_publish(FolderStore(lake))
    with pytest.raises(Killed):
        do_publish(mortal(lake, at=step, after=after), attempt_id="8", outputs=OUTPUTS[1:])
    assert listed(lake, "gold/delays") in ([b"new gold"], [b"newer gold"])


def test_nothing_is_touched_when_one_table_was_not_staged(lake):
    FolderStore(lake).delete([".attempts/7/gold/delays/part-00000-y.c000.parquet"])
    with pytest.raises(JobFailed, match="gold/delays"):
        do_publish(FolderStore(lake))
    assert content(lake) == OLD


@pytest.mark.parametrize("allowed", range(STEPS - 2))  # files are deleted in one call
def test_a_fence_that_falls_stops_it_before_the_next_change(lake, allowed):
    left = iter(range(allowed))

    def check() -> None:
        if next(left, None) is None:
            raise Conflict("A newer attempt exists.", "-")

    with pytest.raises(Conflict):
        do_publish(FolderStore(lake), check=check)
    for table, old, new in (
        ("silver/flights", [b"old 1", b"old 9"], [b"new 1", b"new 2"]),
        ("gold/delays", [b"old gold", b"old gold 2"], [b"new gold"]),
    ):
        there = [d for f, data in content(lake).items() if f.startswith(table) for d in data]
        whole = sorted(there) in (old, new, sorted(old + new))
        assert whole, "the old, the new, or the new with the old not yet deleted"
    assert list(FolderStore(lake).objects(".attempts/7")), "the newer attempt's to judge"


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_store_that_fails_before_the_first_record_leaves_no_half_publication(lake, step):
    def fail() -> None:
        raise Unavailable("The disk is full.", "-")

    with pytest.raises(Unavailable, match="disk is full"):
        do_publish(MortalStore(lake, at=step, after=False, fate=fail))
    assert content(lake) == OLD
    assert shown(FolderStore(lake), [o.table for o in OUTPUTS], "7") == []


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_what_a_killed_publisher_copied_can_be_withdrawn_until_it_is_the_content(lake, step):
    with pytest.raises(Killed):
        do_publish(mortal(lake, at=step, after=True))
    store, tables = FolderStore(lake), [o.table for o in OUTPUTS]
    visible = shown(store, tables, "7")
    assert visible == (tables[: max(step - 3, 0)] if step < 5 else tables)
    withdraw(store, tables, publisher_tag("7"))
    if not visible:
        assert content(lake) == OLD
    for table in visible:
        assert set(listed(lake, table)) <= {b"new 1", b"new 2", b"new gold"}


def test_what_another_attempt_has_published_since_keeps_its_files(lake):
    with pytest.raises(Killed):
        do_publish(mortal(lake, at=5, after=True))
    do_publish(FolderStore(lake), attempt_id="8", outputs=OUTPUTS[1:])
    tables = [o.table for o in OUTPUTS]
    remove_outdated(FolderStore(lake), tables, attempt_id="7", check=lambda: None)
    withdraw(FolderStore(lake), tables, publisher_tag("7"))
    assert content(lake)["gold/delays"] == listed(lake, "gold/delays") == [b"newer gold"]
    assert content(lake)["silver/flights/month=2"] == [b"new 2"]


@pytest.mark.parametrize("step", [pytest.param(1, id="copy"), pytest.param(3, id="delete")])
def test_what_a_stopped_publisher_does_when_it_wakes_harms_no_newer_table(lake, step):
    """It was stopped right after it had asked, and somebody else published meanwhile."""
    gold, asked = OUTPUTS[1:], itertools.count(1)

    def check() -> None:
        number = next(asked)
        if number == step:
            do_publish(FolderStore(lake), attempt_id="8", outputs=gold)
        if number > step:
            raise Conflict("The right to publish was lost.", "-")

    with nullcontext() if step == 3 else pytest.raises(Conflict):  # 3 is the last step
        do_publish(FolderStore(lake), outputs=gold, check=check)
    assert content(lake)["gold/delays"] == [b"newer gold"]
    assert listed(lake, "gold/delays") == [b"newer gold"]


def test_a_publisher_that_lost_its_right_leaves_its_successors_copies_alone(lake):
    """It was stopped amid its copies; the next try of the same attempt was killed after its own."""
    gold, asked = OUTPUTS[1:], itertools.count(1)

    def check() -> None:
        if next(asked) == 2:
            with pytest.raises(Killed):
                do_publish(mortal(lake, at=1, after=True), outputs=gold)
            raise Conflict("The right to publish was lost.", "-")

    with pytest.raises(Conflict):
        do_publish(FolderStore(lake), outputs=gold, check=check)
    assert content(lake)["gold/delays"].count(b"new gold") == 1


def test_an_older_attempt_does_not_replace_what_a_newer_one_published(lake):
    with pytest.raises(Killed):
        do_publish(mortal(lake, at=5, after=False), attempt_id="7")
    do_publish(FolderStore(lake), attempt_id="8", outputs=OUTPUTS[1:])
    with pytest.raises(JobFailed, match="attempt 8 has published"):
        do_publish(FolderStore(lake), attempt_id="7")
    assert content(lake)["gold/delays"] == [b"newer gold"]
    assert listed(lake, "gold/delays") == [b"newer gold"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_new_table_is_ours_from_the_first_step(lake, step, after):
    stage(lake, "9", {"gold/new/part-0.parquet": b"1"})
    with pytest.raises(Killed):
        do_publish(mortal(lake, at=step, after=after), attempt_id="9", outputs=[Output("gold/new")])
    do_publish(FolderStore(lake), attempt_id="9", outputs=[Output("gold/new")])
    assert content(lake)["gold/new"] == [b"1"]


@pytest.mark.parametrize("table", ["gold/other", "gold/delays/deeper", "silver/flights/month1"])
def test_what_is_not_this_table_is_refused_and_stays(lake, table):
    stage(lake, "9", {f"{table}/part-0.parquet": b"1"})
    with pytest.raises(JobFailed, match=table.rpartition("/")[0]):
        do_publish(FolderStore(lake), attempt_id="9", outputs=[Output(table)])
    assert content(lake) == OLD


def test_a_table_around_another_one_is_refused(lake):
    stage(lake, "9", {"raw/a/b/part-0.parquet": b"1"})
    stage(lake, "10", {"raw/a/part-0.parquet": b"2"})
    do_publish(FolderStore(lake), attempt_id="9", outputs=[Output("raw/a/b")])
    with pytest.raises(JobFailed, match="'raw/a/b' lies inside 'raw/a'"):
        do_publish(FolderStore(lake), attempt_id="10", outputs=[Output("raw/a")])
    assert content(lake)["raw/a/b"] == [b"1"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"attempt": "7"}', b'{"files": 1}'])
def test_a_damaged_record_says_nothing_but_whose_the_folder_is(lake, damage):
    store = FolderStore(lake)
    store.put("gold/delays/_published.json", damage)
    assert read_record(store, "gold/delays") == Record()
    do_publish(store)
    assert listed(lake, "gold/delays") == [b"new gold"]
