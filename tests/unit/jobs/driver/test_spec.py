"""What the supervisor is told: which secrets it hides, and that none of them stays in a file."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataharbour.errors import ConfigError
from dataharbour.jobs.applications import Application
from dataharbour.jobs.backends.launch import LaunchContext
from dataharbour.jobs.backends.start import attempt_folder, start_driver
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.jobs.model import RunRequest
from dataharbour.settings import Settings

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SPAWN = "dataharbour.jobs.backends.start._spawn"


@pytest.fixture
def context(store, new_run, tmp_path: Path) -> LaunchContext:
    settings = Settings(
        home=tmp_path / "home",
        include_dir=tmp_path,
        applications=(),
        lake="s3a://lake",
        java_home=None,
        spark_defaults=None,
        driver_dsn_file=tmp_path / "driver.dsn",
    )
    return LaunchContext(
        grant=store.start_attempt(new_run().id, backend="local", now=NOW),
        request=RunRequest("a.py"),
        application=Application(tmp_path / "a.py", "0" * 64),
        principal="ana",
        settings=settings,
        driver_conninfo="host=x user=harbour_driver password='p ss/word'",
        lake=LakeEndpoint("s3a://lake", access_key="lake-key", secret_key="lake+s/cret"),
    )


def test_every_secret_of_ours_is_hidden_also_in_urls(context, monkeypatch):
    monkeypatch.setattr(SPAWN, lambda *_: 1)
    start_driver(context, command=["x"], environment={}, secrets=["connect-token"])
    spec = json.loads((attempt_folder(context) / "spec.json").read_text())
    assert set(spec["secrets"]) == {
        *(context.grant.token, "connect-token", "lake-key"),
        *("lake+s/cret", "lake%2Bs/cret", "lake%2Bs%2Fcret"),
        *("p ss/word", "p%20ss/word", "p%20ss%2Fword"),
    }


def test_no_file_with_secrets_stays_when_the_supervisor_cannot_be_started(context, monkeypatch):
    def fail(*_):
        raise OSError("no more processes")

    monkeypatch.setattr(SPAWN, fail)
    with pytest.raises(OSError, match="no more processes"):
        start_driver(context, command=["x"], environment={})
    assert not (attempt_folder(context) / "spec.json").exists()


def test_a_wrong_database_file_is_told_without_its_words(context):
    wrong = replace(context, driver_conninfo="host=x hunter2")
    with pytest.raises(ConfigError, match="no libpq connection string") as caught:
        start_driver(wrong, command=["x"], environment={})
    assert "hunter2" not in str(caught.value)
