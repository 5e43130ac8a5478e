from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataharbour.errors import Conflict, JobFailed
from dataharbour.jobs.model import Output
from dataharbour.jobs.output import discard_staging, is_published, publish, read_record
from dataharbour.storage.folder import FolderStore

NOW = datetime(2026, 11, 23, tzinfo=UTC)
OUTPUTS = (Output("silver/flights", ("month",)), Output("gold/delays"))
OLD = {
    "silver/flights/month=1/part-00000.parquet": b"old 1",
    "silver/flights/month=9/part-00000.parquet": b"old 9",
    "gold/delays/part-00000.parquet": b"old gold",
    "gold/delays/part-00001.parquet": b"old gold 2",
    "other/table.parquet": b"not ours",
}
NEW = {
    "silver/flights/month=1/part-00000.parquet": b"new 1",
    "silver/flights/month=2/part-00000.parquet": b"new 2",
    "gold/delays/part-00000.parquet": b"new gold",
    "other/table.parquet": b"not ours",
}


class Killed(Exception):
    """The process ends here."""


class MortalStore(FolderStore):
    """Dies at its n-th change, before it or right after it."""

    def __init__(self, root: Path, *, dies_at: int, after: bool) -> None:
        super().__init__(root)
        self.left, self.after = dies_at, after

    def _change(self, call, *args) -> None:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        call(*args)
        if self.left == 0:
            raise Killed

    def put(self, key, data):
        self._change(super().put, key, data)

    def copy(self, source, target):
        self._change(super().copy, source, target)

    def delete(self, keys):
        for key in keys:
            self._change(super().delete, [key])


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    store = FolderStore(tmp_path / "lake")
    for key, data in OLD.items():
        store.put(key, data)
    for table, name, data in [
        ("silver/flights", "month=1/part-00000-x.c000.parquet", b"new 1"),
        ("silver/flights", "month=2/part-00001-x.c000.parquet", b"new 2"),
        ("silver/flights", "_SUCCESS", b""),
        ("gold/delays", "part-00000-y.c000.parquet", b"new gold"),
    ]:
        store.put(f".attempts/7/{table}/{name}", data)
    store.put(".attempts/8/gold/delays/part-0.parquet", b"another attempt")
    return tmp_path / "lake"


def do_publish(store: FolderStore, *, attempt_id: str = "7", check=lambda: None):
    return publish(
        store, OUTPUTS, attempt_id=attempt_id, check=check, rows={"gold/delays": 16}, now=NOW
    )


def content(lake: Path) -> dict[str, bytes]:
    """All data of all tables; no staging, no records."""
    store = FolderStore(lake)
    keys = [found.key for found in store.objects()]
    return {k: store.read(k) for k in keys if not k.startswith(".") and "/_" not in k}


def test_staged_files_become_the_content(lake):
    published = do_publish(FolderStore(lake))
    assert content(lake) == NEW
    assert [(p.table, p.files, p.bytes, p.rows) for p in published] == [
        ("silver/flights", 2, 10, None),
        ("gold/delays", 1, 8, 16),
    ]


def test_the_record_says_what_is_there(lake):
    store = FolderStore(lake)
    do_publish(store)
    assert read_record(store, "gold/delays") == {
        "state": "published",
        "attempt": "7",
        "published_at": "2026-11-23T00:00:00+00:00",
        "rows": 16,
        "bytes": 8,
        "files": ["part-00000.parquet"],
    }
    assert is_published(store, OUTPUTS, "7")
    assert not is_published(store, OUTPUTS, "8")


def test_only_the_own_staging_goes(lake):
    store = FolderStore(lake)
    do_publish(store)
    assert [o.key for o in store.objects(".attempts/")] == [
        ".attempts/8/gold/delays/part-0.parquet"
    ]


def steps() -> int:
    """Changes of one publication: for each table 2 records, its copies and deletes; the staging."""
    return (2 + 2 + 1) + (2 + 1 + 1) + 4


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(1, steps() + 1))
def test_a_publication_that_was_killed_at_any_step_is_completed_by_the_next(lake, step, after):
    with pytest.raises(Killed):
        do_publish(MortalStore(lake, dies_at=step, after=after))
    do_publish(FolderStore(lake))
    assert content(lake) == NEW
    assert not list(FolderStore(lake).objects(".attempts/7"))
    assert is_published(FolderStore(lake), OUTPUTS, "7")


def test_the_steps_are_all_of_them(lake):
    do_publish(MortalStore(lake, dies_at=steps() + 1, after=True))


@pytest.mark.parametrize(("first", "second"), [*itertools.product([3, 7, 11], [2, 6, 10])])
def test_it_may_be_killed_twice(lake, first, second):
    for step in (first, second):
        try:
            do_publish(MortalStore(lake, dies_at=step, after=True))
        except Killed:
            continue
    do_publish(FolderStore(lake))
    assert content(lake) == NEW


def test_a_second_publication_changes_nothing(lake):
    first = do_publish(FolderStore(lake))
    assert do_publish(MortalStore(lake, dies_at=1, after=False)) == first


@pytest.mark.parametrize("step", range(1, steps() + 1))
def test_a_reader_that_trusts_the_record_never_sees_a_mixture(lake, step):
    do_publish(FolderStore(lake))  # so that the first content has a record, too
    for key, data in {"gold/delays/a.parquet": b"third", "gold/delays/b.parquet": b"more"}.items():
        FolderStore(lake).put(f".attempts/9/{key}", data)
    with pytest.raises(Killed):
        publish(MortalStore(lake, dies_at=step % 6 + 1, after=True), [OUTPUTS[1]],
                attempt_id="9", check=lambda: None, now=NOW)  # fmt: skip
    store = FolderStore(lake)
    record = read_record(store, "gold/delays")
    if record["state"] == "published":
        listed = [store.read(f"gold/delays/{name}") for name in record["files"]]
        assert listed in ([b"new gold"], [b"third", b"more"])


def test_nothing_is_touched_when_one_table_was_not_staged(lake):
    FolderStore(lake).delete([".attempts/7/gold/delays/part-00000-y.c000.parquet"])
    with pytest.raises(JobFailed, match="gold/delays"):
        do_publish(FolderStore(lake))
    assert content(lake) == OLD


@pytest.mark.parametrize("allowed", range(10))
def test_a_fence_that_falls_stops_it_before_the_next_change(lake, allowed):
    left = iter(range(allowed))

    def check() -> None:
        if next(left, None) is None:
            raise Conflict("A newer attempt exists.", "-")

    with pytest.raises(Conflict):
        do_publish(FolderStore(lake), check=check)
    store = FolderStore(lake)
    touched = sum(content(lake).get(key) == data != OLD.get(key) for key, data in NEW.items())
    assert touched <= allowed
    assert list(store.objects(".attempts/7")), "the staging is the newer attempt's to judge"


def test_a_damaged_record_is_no_record(lake):
    store = FolderStore(lake)
    for damage in (b"", b"{", b"[1]", b'{"attempt": "7"}'):
        store.put("gold/delays/_published.json", damage)
        assert not is_published(store, [OUTPUTS[1]], "7")
    do_publish(store)
    assert json.loads(store.read("gold/delays/_published.json"))["attempt"] == "7"


def test_staging_can_be_thrown_away(lake):
    discard_staging(FolderStore(lake), "7")
    assert content(lake) == OLD
    assert not list(FolderStore(lake).objects(".attempts/7/"))
