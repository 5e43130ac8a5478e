from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dataharbour.backup.sources.bucket import REPLACED_WITHIN, kept_versions
from dataharbour.storage.versions import ObjectVersion

MARK = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
seconds = st.integers(-3_000, 300)
histories = st.lists(
    st.tuples(seconds, st.booleans()), min_size=1, max_size=12, unique_by=lambda v: v[0]
)


def version(seconds: int, *, is_deletion: bool = False) -> ObjectVersion:
    return ObjectVersion("x", f"v{seconds}", 1, MARK + timedelta(seconds=seconds), "e", is_deletion)


def kept(*newest_first: ObjectVersion) -> dict[str, bool]:
    return {v.version: is_current for v, is_current in kept_versions(newest_first, mark=MARK)}


def test_what_was_written_after_the_mark_is_left_out():
    assert kept(version(5), version(-5_000)) == {"v-5000": True}


def test_what_was_deleted_before_the_mark_is_not_current():
    assert kept(version(-2_000, is_deletion=True), version(-5_000)) == {}
    assert kept(version(-10, is_deletion=True), version(-5_000)) == {"v-5000": False}
    assert kept(version(10, is_deletion=True), version(-5_000)) == {"v-5000": True}


def test_a_version_that_was_replaced_shortly_before_is_kept_too():
    assert kept(version(-10), version(-20), version(-5_000)) == {
        "v-10": True, "v-20": False, "v-5000": False,
    }  # fmt: skip
    assert kept(version(-1_000), version(-2_000)) == {"v-1000": True}


@given(histories, st.integers(0, 890))
def test_whoever_commits_in_time_finds_the_version_that_the_row_names(history, seconds_before):
    """At any moment of the last quarter of an hour, what was current is kept."""
    versions = [version(at, is_deletion=gone) for at, gone in sorted(history, reverse=True)]
    found = kept_versions(versions, mark=MARK)
    then = MARK - timedelta(seconds=seconds_before)
    assert then > MARK - REPLACED_WITHIN
    was = next((v for v in versions if v.modified_at <= then), None)
    if was is not None and not was.is_deletion:
        assert was in [v for v, _ in found]
    assert sum(is_current for _, is_current in found) <= 1
    assert all(v.modified_at <= MARK and not v.is_deletion for v, _ in found)
