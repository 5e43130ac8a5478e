"""What the backend `docker` asks its engine for; tests/contract/jobs runs it on a real one."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from dataharbour.errors import ConfigError, ConfNotAllowed
from dataharbour.jobs.applications import Application
from dataharbour.jobs.backends.docker import DockerBackend, DockerPlace
from dataharbour.jobs.backends.launch import LaunchContext, StartedDriver
from dataharbour.jobs.container.body import NOBODY, ORDER, Limits
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.jobs.model import AttemptGrant, RunRequest
from dataharbour.settings import Settings

RUN, ATTEMPT = (UUID(int=n) for n in (1, 2))
IMAGE = "registry.example/spark@sha256:" + "0" * 64


class FakeEngine:
    def __init__(self, place: DockerPlace) -> None:
        self.place = place
        self.removed: list[str] = []
        self.asked_for_image = False

    def have_image(self) -> None:
        self.asked_for_image = True

    def remove(self, name: str) -> None:
        self.removed.append(name)


@pytest.fixture
def engine():
    return FakeEngine(DockerPlace("unix:///s", IMAGE, Limits(2 * 2**30, 1.5, 256)))


@pytest.fixture
def context(tmp_path: Path) -> LaunchContext:
    settings = Settings(
        home=Path("/srv/harbour"),
        include_dir=tmp_path,
        applications=(Path("/srv/apps"),),
        lake="file:///srv/lake",
        java_home=Path("/java"),
        spark_defaults=tmp_path / "defaults.conf",
        driver_dsn_file=tmp_path / "dsn",
    )
    return LaunchContext(
        grant=AttemptGrant(ATTEMPT, RUN, number=1, fence=1, token="the-token"),
        request=RunRequest("a.py", args=("--x", "a b"), labels={"name": "nightly"}),
        application=Application(Path("/srv/apps/a.py"), "f" * 64),
        principal="ana@example.org",
        settings=settings,
        driver_conninfo="host=db password=driver-password",
        lake=LakeEndpoint("file:///srv/lake"),
    )


@pytest.fixture
def submit(engine, monkeypatch):
    """The order of a submission, and what the supervisor is told."""

    def submitted(context):
        told = {}
        monkeypatch.setattr(
            "dataharbour.jobs.backends.docker.start_driver",
            lambda context, **given: told.update(given) or "id",
        )
        DockerBackend(lambda: engine).submit(context)
        return json.loads(told["environment"].pop(ORDER)), told

    return submitted


def test_a_container_has_nothing_that_it_does_not_need(submit, context, engine):
    order, _ = submit(context)
    host = order["body"]["HostConfig"]
    assert engine.asked_for_image
    assert order["body"]["Image"] == IMAGE
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Memory"], host["MemorySwap"]) == (2 * 2**30, 2 * 2**30)
    assert (host["NanoCpus"], host["PidsLimit"]) == (1_500_000_000, 256)
    assert host["LogConfig"]["Type"] == "none"
    assert not order["body"]["User"].startswith("0:")
    assert "Devices" not in host


def test_what_may_be_written_is_the_working_folder_and_the_staging(submit, context):
    order, _ = submit(context)
    mounts = {m["Target"]: m for m in order["body"]["HostConfig"]["Mounts"]}
    staging = f"/srv/lake/.attempts/{ATTEMPT}"
    assert {target for target, m in mounts.items() if not m["ReadOnly"]} == {
        "/run/dataharbour/work",
        "/run/dataharbour/control",
        staging,
    }
    assert mounts["/srv/lake"]["ReadOnly"]
    assert mounts["/opt/application"]["Source"] == "/srv/apps"
    attempt = f"/srv/harbour/runs/{ATTEMPT}"
    assert mounts["/run/dataharbour/work"]["Source"] == f"{attempt}/work"
    assert not [m for m in mounts.values() if m["Source"] in (attempt, "/srv/harbour")]
    assert order["staging"] == staging


def test_no_secret_is_in_an_argument_and_none_of_ours_in_the_container(submit, context):
    order, told = submit(context)
    assert "secret" not in json.dumps(told["command"]) + json.dumps(told["afterwards"])
    everything = json.dumps([order, told["environment"]])
    for secret in ("the-token", "driver-password", "/java", "defaults.conf"):
        assert secret not in everything


def test_the_application_is_started_as_everywhere(submit, context):
    order, _ = submit(context)
    command = order["body"]["Cmd"]
    driver = "/opt/dataharbour/dataharbour/jobs/driver"
    assert command[:3] == ["python3", f"{driver}/inside.py", "spark-submit"]
    assert command[3:7] == ["--master", "local[2]", "--name", "nightly"]
    assert command[-6:] == [
        f"{driver}/child.py", "/run/dataharbour", "f" * 64, "/opt/application/a.py", "--x", "a b",
    ]  # fmt: skip
    assert "spark.driver.memory=1600m" in command


def test_the_user_is_that_of_the_worker_and_never_root(submit, context, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert submit(context)[0]["user"] == list(NOBODY)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 100)
    assert submit(context)[0]["body"]["User"] == "1000:100"


def test_a_job_may_choose_cores_and_a_heap_that_fits(submit, context):
    conf = {"spark.driver.cores": "4", "spark.driver.memory": "1g", "spark.sql.ansi.enabled": "1"}
    order, _ = submit(replace(context, request=replace(context.request, conf=conf)))
    command = order["body"]["Cmd"]
    assert "local[4]" in command
    assert "spark.driver.memory=1g" in command
    assert "spark.sql.ansi.enabled=1" in command
    assert not any(part.startswith("spark.driver.cores") for part in command)
    conf = {"spark.driver.memory": "2g"}
    with pytest.raises(ConfNotAllowed, match=r"\(2g\) does not fit .* 2048 MiB") as caught:
        submit(replace(context, request=replace(context.request, conf=conf)))
    assert "Ask for 1600m or less" in caught.value.remedy


S3 = LakeEndpoint("s3a://lake", "http://store:8333", "us-east-1", "lake-key", "lake-secret")


def test_a_lake_over_the_network_needs_a_network(submit, context):
    with pytest.raises(ConfigError, match="lake s3a://lake is reached over a network"):
        submit(replace(context, lake=S3))


def test_with_a_network_the_keys_are_in_the_environment_alone(submit, context, engine):
    engine.place = replace(engine.place, network="lake")
    order, told = submit(replace(context, lake=S3))
    body = order["body"]
    assert body["HostConfig"]["NetworkMode"] == "lake"
    assert "AWS_SECRET_ACCESS_KEY=lake-secret" in body["Env"]
    assert "spark.hadoop.fs.s3a.endpoint=http://store:8333" in body["Cmd"]
    assert "lake-secret" not in json.dumps([body["Cmd"], told["command"]])
    assert order["staging"] is None


def test_kill_removes_the_container_whatever_became_of_the_engine(engine):
    driver = StartedDriver(ATTEMPT, None, "ana")
    DockerBackend(lambda: engine).kill(driver)
    assert engine.removed == [f"dataharbour-{ATTEMPT}"]

    def away():
        raise OSError("no engine")

    DockerBackend(away).kill(driver)
