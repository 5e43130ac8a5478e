"""Which event log is an application's, and what a driver may not make of its id."""

from __future__ import annotations

import pytest

from dataharbour.jobs.event_logs import application_of, logged_application, page_of, settings_of

LOCAL, CLUSTER = "local-1795583056123", "app-20261125044643-0001"


@pytest.mark.parametrize("told", [LOCAL, CLUSTER])
def test_an_attempt_has_the_application_that_its_driver_told(told):
    assert application_of({"stages": 3, "application": told}) == told


@pytest.mark.parametrize(
    "told",
    [
        None,
        7,
        "",
        "../../secrets",
        f"{LOCAL}/..",
        f"{LOCAL}\n",
        f"x{LOCAL}",
        "application_1_2",
        "*",
    ],
)
def test_what_is_no_id_of_an_application_is_none(told):
    assert application_of({"application": told}) is None


def test_without_progress_there_is_no_application():
    assert application_of(None) is None
    assert application_of({"stages": 3}) is None


def test_an_application_has_a_page_once_its_log_is_kept(tmp_path):
    progress = {"application": CLUSTER}
    assert logged_application(progress, tmp_path / "no folder") is None
    assert logged_application(progress, tmp_path) is None
    (tmp_path / f"eventlog_v2_{CLUSTER}").mkdir()
    assert logged_application(progress, tmp_path) == CLUSTER
    assert page_of(CLUSTER) == f"history/{CLUSTER}/jobs/"


def test_logs_roll_and_are_compressed(tmp_path):
    settings = settings_of(tmp_path / "my logs")
    assert settings["spark.eventLog.enabled"] == "true"
    assert settings["spark.eventLog.dir"] == f"{tmp_path}/my logs", "a path: no URI, nothing quoted"
    assert settings["spark.eventLog.rolling.enabled"] == "true"
    assert settings["spark.eventLog.compression.codec"] == "zstd"
