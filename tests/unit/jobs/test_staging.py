from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from dataharbour.jobs.model import Detail, Output
from dataharbour.jobs.staging import LEFT_FOR, remove_left_staging
from dataharbour.testing.fixtures import installation
from dataharbour.testing.runs import site_of

__all__ = ["installation"]

NOW = datetime.now(UTC)
LATER = NOW + LEFT_FOR + timedelta(seconds=1)


@pytest.fixture
def site(installation):
    return site_of(installation)


@pytest.fixture
def staged(site, installation, new_run):
    """Makes a run of some outputs that has staged a file; the run and its folder."""

    def stage(*outputs: Output):
        run = new_run(outputs=outputs)
        grant = site.store.start_attempt(run.id, backend="plain", now=NOW)
        folder = installation.lake / ".attempts" / str(grant.attempt_id)
        (folder / "gold/sales").mkdir(parents=True)
        (folder / "gold/sales/part-0.parquet").write_text("x")
        return run, folder

    return stage


@pytest.mark.parametrize("detail", [Detail.FAILED, Detail.CANCELLED, Detail.TIMED_OUT])
def test_what_a_run_left_that_has_ended_is_removed(site, staged, detail):
    run, folder = staged(Output("gold/sales"))
    site.store.finish(run.id, detail=detail, now=NOW)
    assert remove_left_staging(site.store, site.lake, now=LATER) == 1
    assert not folder.exists()
    assert remove_left_staging(site.store, site.lake, now=LATER) == 0


def test_what_may_still_be_published_or_read_stays(site, staged, installation):
    _, open_folder = staged(Output("gold/sales"))
    just_ended, just_folder = staged(Output("gold/sales"))
    site.store.finish(just_ended.id, detail=Detail.FAILED, now=LATER)
    undeclared, its_folder = staged()
    site.store.finish(undeclared.id, detail=Detail.FAILED, now=NOW)
    foreign = [installation.lake / ".attempts" / name for name in (str(uuid4()), "notes")]
    for folder in foreign:
        folder.mkdir()
    assert remove_left_staging(site.store, site.lake, now=LATER) == 0
    assert all(f.exists() for f in (open_folder, just_folder, its_folder, *foreign))


def test_a_lake_without_staging_has_nothing_to_remove(site, installation):
    assert not (installation.lake / ".attempts").exists()
    assert remove_left_staging(site.store, site.lake, now=LATER) == 0
