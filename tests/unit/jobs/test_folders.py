"""Folders of attempts: real ones of real drivers, and a database that says how their runs are."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dataharbour.jobs.backends.start import driver_is_alive
from dataharbour.jobs.driver import artifacts
from dataharbour.jobs.driver.process import is_running, start_ticks
from dataharbour.jobs.execute import begin, open_run
from dataharbour.jobs.folders import KEPT_FOR, remove_old_folders
from dataharbour.jobs.model import RunRequest
from dataharbour.settings import Settings
from dataharbour.testing.fixtures import Installation, installation
from dataharbour.testing.runs import CALLER, carry_out, site_of

__all__ = ["installation"]

NOW = datetime.now(UTC)
LONG_AGO = NOW - KEPT_FOR - timedelta(minutes=1)


@pytest.fixture
def runs(installation: Installation) -> Path:
    return installation.root / "home" / "runs"


@pytest.fixture
def ended(installation: Installation, runs: Path) -> Path:
    """The folder of an attempt whose run ended long ago."""
    app = installation.application("open('left', 'w').write('by the application')")
    site = site_of(installation)
    run = carry_out(site, RunRequest(application=app, backend="local")).run
    [attempt] = site.store.attempts(run.id)
    while driver_is_alive(attempt.external_id):
        time.sleep(0.05)
    change(installation, "update run set ended_at = %s", [LONG_AGO])
    [folder] = runs.iterdir()
    os.utime(folder, (LONG_AGO.timestamp(),) * 2)
    assert {path.name for path in folder.iterdir()} >= {"driver.log", "supervisor.log", "work"}
    return folder


def change(installation: Installation, statement: str, values: list[object] | None = None) -> None:
    with installation.connect() as connection:
        assert connection.execute(statement, values).rowcount == 1


def settings_of(installation: Installation, **changed: int) -> Settings:
    return replace(site_of(installation).settings, **changed)


def look(installation: Installation, runs: Path) -> int:
    return remove_old_folders(installation.store(), settings_of(installation), now=NOW)


def test_the_folder_of_a_run_that_ended_long_ago_is_removed(installation, runs, ended):
    assert look(installation, runs) == 1
    assert list(runs.iterdir()) == []


@pytest.fixture
def offered(ended: Path) -> Path:
    """Its artifacts, as old as its folder."""
    folder = ended.parents[1] / "artifacts" / ended.name
    folder.parent.mkdir()
    artifacts.write(folder, "notebook.ipynb", b"{}")
    os.utime(folder, (LONG_AGO.timestamp(),) * 2)
    return folder


def test_what_people_are_offered_of_it_stays(installation, runs, ended, offered):
    assert look(installation, runs) == 1
    assert not ended.exists()
    assert artifacts.read(offered, "notebook.ipynb") == b"{}"
    assert look(installation, runs) == 0, "there is nothing more to do"


@pytest.mark.parametrize(
    ("days", "stays"), [(0, True), (60, True), (8, True), (7, False), (999_999_999, True)]
)
def test_that_stays_as_long_as_the_setting_says(installation, offered, days, stays):
    settings = settings_of(installation, artifacts_days=days)
    remove_old_folders(installation.store(), settings, now=NOW)
    assert offered.exists() is stays


def test_artifacts_of_a_run_that_has_not_ended_stay(installation, offered):
    change(installation, "update run set ended_at = null")
    settings = settings_of(installation, artifacts_days=1)
    remove_old_folders(installation.store(), settings, now=NOW)
    assert offered.exists()


@pytest.mark.parametrize(
    "changed",
    [
        "update run set ended_at = now() - interval '6 days'",
        "update run set ended_at = null",
        "update attempt set lease_until = now() + interval '20 seconds'",
        "delete from run",
    ],
    ids=["not-yet", "it-has-not-ended", "its-driver-holds-a-lease", "nobody-knows-of-it"],
)
def test_any_other_stays(installation, runs, ended, changed):
    change(installation, changed)
    assert look(installation, runs) == 0
    assert (ended / "driver.log").exists()


@pytest.mark.parametrize("name", ["notes", "0b5a4fd0-6f8e-4c5d-9a57-6f2f2f1f4b11"])
def test_what_is_no_folder_of_an_attempt_stays(installation, runs, ended, name):
    (runs / name).write_text("mine")
    os.utime(runs / name, (LONG_AGO.timestamp(),) * 2)
    look(installation, runs)
    assert (runs / name).read_text() == "mine"


@pytest.mark.parametrize("is_known", [True, False], ids=["by-its-id", "by-where-it-works"])
def test_the_folder_of_a_living_driver_is_never_removed(installation, runs, is_known):
    """It was given up, stopped where it stood, and nobody could kill it."""
    site = site_of(installation)
    app = installation.application("import time; time.sleep(60)")
    run = open_run(site, RunRequest(application=app, backend="local"), caller=CALLER)
    pid = int(begin(site, run).external_id.split(":")[-2])
    ticks = start_ticks(pid)
    while site.store.get(run.id).started_at is None:
        time.sleep(0.05)
    os.kill(pid, signal.SIGSTOP)
    change(installation, "update run set detail = 'FAILED', ended_at = %s", [LONG_AGO])
    change(installation, "update attempt set lease_until = %s", [LONG_AGO])
    if not is_known:  # its task was killed before it could write that down
        change(installation, "update attempt set external_id = null")
    [folder] = runs.iterdir()
    os.utime(folder, (LONG_AGO.timestamp(),) * 2)
    assert look(installation, runs) == 0
    assert (folder / "work").exists()
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while is_running(pid, ticks) or look(installation, runs) == 0:
        assert time.monotonic() < until, "nothing is removed"
    assert not folder.exists()
