"""The way of an event log from the attempt's folder to the history server's."""

from __future__ import annotations

import os

import pytest

from dataharbour.jobs.driver.event_logs import hand_over
from dataharbour.jobs.model import Detail

LOG = "eventlog_v2_local-1795583056123"
SPARKS, ELSE = 12_345, 23_456  # of nobody on this machine


@pytest.fixture
def own(tmp_path):
    """An attempt's folder with a log."""
    folder = tmp_path / "events"
    (folder / LOG).mkdir(parents=True)
    (folder / LOG / "events_1").write_text("{}")
    return folder


@pytest.fixture
def kept(tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o700)
    return folder


def test_a_log_is_moved_and_its_folder_goes(own, kept):
    hand_over(own, kept)
    assert (kept / LOG / "events_1").read_text() == "{}"
    assert not own.exists()


def test_an_application_without_spark_leaves_nothing(tmp_path, kept):
    (tmp_path / "events").mkdir()
    hand_over(tmp_path / "events", kept)
    assert list(kept.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_it_becomes_the_history_servers_and_what_it_links_to_does_not(own, kept, tmp_path):
    os.chown(kept, SPARKS, SPARKS)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").touch()
    for target in (outside, outside / "mine"):
        os.chown(target, ELSE, ELSE)
    (own / LOG / "file").symlink_to(outside / "mine")
    (own / LOG / "folder").symlink_to(outside)
    hand_over(own, kept)
    owners = {path.lstat().st_uid for path in (kept / LOG, kept / LOG / "events_1")}
    assert owners == {SPARKS}
    assert {path.stat().st_uid for path in (outside, outside / "mine")} == {ELSE}


def test_a_link_is_no_log(own, kept, tmp_path):
    (own / "eventlog_v2_link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="not empty"):
        hand_over(own, kept)
    assert [path.name for path in kept.iterdir()] == [LOG]


@pytest.mark.parametrize("planted", ["folder", "link"])
def test_a_name_that_is_taken_is_not_written_into(own, kept, tmp_path, planted):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if planted == "link":
        (kept / LOG).symlink_to(elsewhere)
    else:
        (kept / LOG).mkdir()
        (kept / LOG / "older").touch()
    with pytest.raises(OSError):  # noqa: PT011 - which one is the kernel's to choose
        hand_over(own, kept)
    assert (own / LOG / "events_1").exists()
    assert list(elsewhere.iterdir()) == []


WRITES = f"""
    from pathlib import Path
    log = Path("../events/{LOG}")
    log.mkdir(parents=True)
    (log / "events_1").write_text("x")
    raise SystemExit({{code}})
"""


@pytest.mark.parametrize("code", [0, 7])
def test_the_supervisor_hands_it_over_however_the_application_ended(launch, kept, code):
    driver = launch(WRITES.format(code=code), event_logs=str(kept))
    state = driver.end()
    assert state.exit_code == code
    assert (kept / LOG / "events_1").exists(), "before the end is told"


def test_a_history_that_cannot_be_written_is_told_and_costs_no_run(launch, kept):
    driver = launch(WRITES.format(code=0), event_logs=str(kept / "gone"))
    assert driver.end().observed is Detail.SUCCEEDED
    [said] = driver.lines("harbour")
    assert said == "Spark's history will not show this attempt: No such file or directory"
