"""What a driver is started with: nothing of Airflow's, nothing secret where others can read."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dataharbour.errors import ConfigError
from dataharbour.jobs.applications import resolve_application
from dataharbour.jobs.backends.launch import (
    LakeEndpoint,
    LaunchContext,
    read_driver_conninfo,
)
from dataharbour.jobs.backends.local import LocalBackend
from dataharbour.jobs.backends.start import (
    child_arguments,
    child_environment,
    driver_is_alive,
    kill_driver,
    start_driver,
)
from dataharbour.jobs.driver.process import start_ticks
from dataharbour.jobs.model import Detail, RunRequest
from dataharbour.settings import Settings

from .conftest import NOW


@pytest.fixture
def context(store, new_run, tmp_path: Path, driver_database) -> LaunchContext:
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "a.py").write_text("import os, json; print(json.dumps(dict(os.environ)))")
    settings = Settings(
        home=tmp_path / "home",
        include_dir=tmp_path,
        applications=(tmp_path / "apps",),
        lake="s3a://lake",
        java_home=Path("/java"),
        spark_defaults=tmp_path / "defaults.conf",
        driver_dsn_file=tmp_path / "driver.dsn",
    )
    return LaunchContext(
        grant=store.start_attempt(new_run().id, backend="local", now=NOW),
        request=RunRequest("a.py", args=("--x", "a b")),
        application=resolve_application("a.py", settings.applications),
        principal="ana@example.org",
        settings=settings,
        driver_conninfo=driver_database,
        lake=LakeEndpoint(
            "s3a://lake", "http://127.0.0.1:1", "us-east-1", "lake-key", "lake-secret"
        ),
    )


def start_plain(context: LaunchContext, **options) -> str:
    import sys

    folder = context.settings.home / "runs" / str(context.grant.attempt_id)
    return start_driver(
        context,
        command=[sys.executable, *child_arguments(context, folder)],
        environment=child_environment(context, {"EXTRA": "1"}),
        **options,
    )


def test_the_application_gets_a_clean_environment(context, store, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "fernet")
    monkeypatch.setenv("PGPASSWORD", "x")
    monkeypatch.setenv("HARBOUR_SERVICE", "scheduler")
    start_plain(context)
    state = store.wait(context.grant.run_id, timeout_s=20)
    assert state.observed is Detail.SUCCEEDED
    variables = json.loads(store.logs(context.grant.run_id).items[0].line)
    assert variables["EXTRA"] == "1"
    assert variables["DATAHARBOUR_LAKE"] == "s3a://lake"
    assert variables["HARBOUR_PLATFORM"] == str(context.settings.home)
    assert variables["HARBOUR_SERVICE"] == "application"
    assert not [name for name in variables if name.startswith(("AIRFLOW", "PG", "AWS"))]
    text = json.dumps(variables)
    for secret in ("lake-secret", context.grant.token, "driver-password"):
        assert secret not in text


def test_the_driver_lives_on_its_own_and_is_known_by_its_id(context, store):
    application = context.application.path
    application.write_text("import time; print('up', flush=True); time.sleep(60)")
    context = replace(
        context, application=resolve_application("a.py", context.settings.applications)
    )
    external_id = start_plain(context)
    pid = int(external_id.split(":")[1])
    assert os.getsid(pid) == pid, "a session of its own"
    assert driver_is_alive(external_id)
    store.submitted(context.grant.attempt_id, external_id=external_id, now=NOW)
    store.cancel(context.grant.run_id, now=NOW)
    # Before or after the claim: either way it ends at once, and nothing is left.
    assert store.wait(context.grant.run_id, timeout_s=20).observed is Detail.CANCELLED
    deadline = time.monotonic() + 10
    while driver_is_alive(external_id) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not driver_is_alive(external_id)


def test_another_machine_cannot_tell():
    assert driver_is_alive("another-host:1:1") is None


def test_a_reused_pid_is_another_process():
    assert driver_is_alive(f"{socket.gethostname()}:{os.getpid()}:1") is False
    assert driver_is_alive(f"{socket.gethostname()}:999999999:1") is False


def test_the_driver_of_another_user_is_left_to_its_lease(monkeypatch):
    def kill(pid, number):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", kill)
    kill_driver(f"{socket.gethostname()}:{os.getpid()}:{start_ticks(os.getpid())}")


def test_the_attempts_folder_is_private(context, store):
    start_plain(context)
    folder = context.settings.home / "runs" / str(context.grant.attempt_id)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    store.wait(context.grant.run_id, timeout_s=20)
    assert not (folder / "spec.json").exists(), "it holds the secrets, and was read"


def test_local_hands_the_lakes_keys_to_its_spark_alone(context, tmp_path, monkeypatch):
    seen: dict[str, object] = {}
    monkeypatch.setattr(
        "dataharbour.jobs.backends.local.start_driver",
        lambda context, **given: seen.update(given) or "id",
    )
    conf = {"spark.driver.cores": "2", "spark.driver.memory": "1g"}
    LocalBackend().submit(replace(context, request=replace(context.request, conf=conf)))
    environment, command = seen["environment"], seen["command"]
    assert environment["AWS_ACCESS_KEY_ID"] == "lake-key"
    assert environment["AWS_SECRET_ACCESS_KEY"] == "lake-secret"
    assert environment["JAVA_HOME"] == "/java"
    assert "lake-secret" not in " ".join(command)
    assert command[1:3] == ["--master", "local[2]"]
    assert command[command.index("--properties-file") + 1] == str(tmp_path / "defaults.conf")
    assert "spark.driver.memory=1g" in command
    assert f"spark.dataharbour.run={context.grant.run_id}" in command
    assert not any("spark.driver.cores" in part for part in command)
    assert command[-2:] == ["--x", "a b"]


@pytest.mark.parametrize(
    ("is_shown", "profile", "is_logged"),
    [(True, "standard", True), (False, "standard", False), (True, "short", False)],
)
def test_a_standard_run_on_local_writes_an_event_log_where_somebody_shows_it(
    context, monkeypatch, is_shown, profile, is_logged
):
    context = replace(context, request=replace(context.request, profile=profile))
    seen: dict[str, object] = {}
    monkeypatch.setattr(
        "dataharbour.jobs.backends.local.start_driver",
        lambda context, **given: seen.update(given) or "id",
    )
    shown = context.settings.home / "spark" / "events"
    if is_shown:
        shown.mkdir(parents=True)
    LocalBackend().submit(context)
    own = context.settings.home / "runs" / str(context.grant.attempt_id) / "events"
    assert (f"spark.eventLog.dir={own}" in seen["command"]) is is_logged, "nobody else reaches it"
    assert ("spark.eventLog.enabled=true" in seen["command"]) is is_logged
    assert seen["event_logs"] == (shown if is_logged else None)


def test_an_attempt_that_is_logged_has_a_folder_for_its_log(context, store):
    application = context.application.path
    application.write_text("import pathlib; print(pathlib.Path('../events').stat().st_mode)")
    context = replace(
        context, application=resolve_application("a.py", context.settings.applications)
    )
    start_plain(context, event_logs=context.settings.home)
    assert store.wait(context.grant.run_id, timeout_s=20).observed is Detail.SUCCEEDED
    [mode] = [line.line for line in store.logs(context.grant.run_id).items]
    assert stat.S_IMODE(int(mode)) == 0o700


def test_a_driver_that_was_started_does_without_the_archive_of_classes(
    context, monkeypatch, caplog
):
    local = "dataharbour.jobs.backends.local"

    def no_room(*_, **__):
        raise OSError(28, "No space left on device")

    wanted = SimpleNamespace(flags=lambda: "", is_wanted=lambda: True)
    monkeypatch.setattr(f"{local}.ClassArchive.of", lambda *_, **__: wanted)
    monkeypatch.setattr(f"{local}.start_driver", lambda context, **_: "id")
    monkeypatch.setattr(f"{local}.make_in_background", no_room)
    assert LocalBackend().submit(context) == "id"
    assert "No space left" in caplog.text


def test_the_drivers_database_file_is_read_or_told(context):
    with pytest.raises(ConfigError, match=r"driver\.dsn cannot be read"):
        read_driver_conninfo(context.settings)
    context.settings.driver_dsn_file.write_text("host=x\n")
    assert read_driver_conninfo(context.settings) == "host=x"


def test_no_secret_is_shown_by_a_context(context):
    shown = repr(context)
    for secret in ("lake-secret", context.grant.token, "driver-password"):
        assert secret not in shown
