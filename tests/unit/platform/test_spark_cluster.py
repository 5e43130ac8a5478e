"""The standalone cluster of `up --cluster`: closed doors, private files, a remembered choice."""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dataharbour.platform import airflow_config
from dataharbour.platform.assemble import keep_cluster
from dataharbour.platform.credentials import Credentials
from dataharbour.platform.layout import Home
from dataharbour.platform.names import CLUSTER, SHOWN, STOP_ORDER
from dataharbour.platform.ports import PREFERRED
from dataharbour.platform.spark import SparkFiles
from dataharbour.platform.spark_cluster import Cluster
from dataharbour.settings import Settings

SECRET = Credentials()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    files = SparkFiles(
        tmp_path / "spark", (os.getuid(), os.getgid()), "http://127.0.0.1:1", Path("/java")
    )
    files.write(lake="file:///lake")
    made = Cluster(
        files,
        PREFERRED,
        key=SECRET.spark_cluster_key,
        secret=SECRET.spark_cluster_secret,
        cores=3,
        memory_mb=2048,
    )
    made.write()
    return made


def properties(file: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in file.read_text().splitlines())


def test_every_door_has_the_filter_and_wants_an_expiry(cluster):
    master = properties(cluster.folder / "master.conf")
    worker = properties(cluster.folder / "worker.conf")
    name = "org.apache.spark.ui.JWSFilter"
    history = properties(cluster.folder / "history.conf")
    for options in (master, worker, history):
        assert options["spark.ui.filters"] == name
        assert options[f"spark.{name}.param.secretKey"] == SECRET.spark_cluster_key
        assert options[f"spark.{name}.param.requireExpiration"] == "true"
    assert master["spark.authenticate"] == worker["spark.authenticate"] == "true"
    assert master["spark.master.rest.filters"] == name
    assert master["spark.master.rest.host"] == "127.0.0.1"
    assert len(base64.urlsafe_b64decode(SECRET.spark_cluster_key)) == 32


def test_the_files_with_the_key_are_private_also_when_written_again(cluster):
    cluster.write()
    for name in ("master.conf", "worker.conf", "history.conf"):
        assert stat.S_IMODE((cluster.folder / name).stat().st_mode) == 0o600
    for folder in (cluster.folder / "work", cluster.folder / "local", cluster.events):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_applications_log_where_the_history_server_reads_and_old_logs_go(cluster):
    drivers = properties(cluster.conf / "spark-defaults.conf")
    history = properties(cluster.folder / "history.conf")
    assert drivers["spark.eventLog.enabled"] == "true", "the last of two settings holds"
    assert drivers["spark.eventLog.dir"] == history["spark.history.fs.logDirectory"]
    assert drivers["spark.eventLog.dir"] == str(cluster.events)
    assert "secret" in drivers["spark.redaction.regex"]
    assert history["spark.history.fs.cleaner.enabled"] == "true"
    assert history["spark.history.fs.cleaner.maxAge"] == "14d"
    assert history["spark.ui.contentSecurityPolicy.enabled"] == "true"


def test_the_backend_local_finds_the_folder_while_there_is_a_cluster(cluster):
    (cluster.events / "eventlog_v2_x").mkdir()
    assert settings_of(cluster).event_logs == cluster.events
    cluster.put_logs_away()
    assert not settings_of(cluster).event_logs.exists()
    cluster.put_logs_away()  # as every start without a cluster does
    cluster.write()
    assert [log.name for log in settings_of(cluster).event_logs.iterdir()] == ["eventlog_v2_x"]


def settings_of(cluster: Cluster) -> Settings:
    folder = cluster.files.root.parent
    return Settings(folder, folder, (), "file:///lake", None, None, folder / "driver.dsn")


def test_the_history_server_has_no_secret_of_the_cluster(cluster):
    command, environment = cluster.history_command()
    text = " ".join([*command, *environment.values()])
    for secret in (SECRET.spark_cluster_key, SECRET.spark_cluster_secret):
        assert secret not in text
    assert environment["SPARK_LOCAL_IP"] == "127.0.0.1", "what its page binds to"


def test_what_the_worker_starts_finds_the_secret_in_its_private_settings(cluster):
    conf = cluster.folder / "conf"
    options = properties(conf / "spark-defaults.conf")
    assert options["spark.authenticate.secret"] == SECRET.spark_cluster_secret
    assert options["spark.sql.session.timeZone"] == "UTC", "beside the platform's own"
    assert (conf / "java-opts").read_text().startswith("-Dspark.authenticate=true ")
    assert {stat.S_IMODE(file.stat().st_mode) for file in conf.iterdir()} == {0o600}
    assert SECRET.spark_cluster_secret not in cluster.files.defaults.read_text()


def test_the_drivers_entry_point_can_be_read_by_all(cluster):
    assert cluster.endpoint.driver_file == str(cluster.entry)
    assert stat.S_IMODE(cluster.entry.stat().st_mode) == 0o644


def test_no_secret_stands_in_a_command_line(cluster):
    master, _ = cluster.master_command()
    worker, environment = cluster.worker_command(s3_keys=("key", "s3cret"), python={})
    text = " ".join([*master, *worker])
    for secret in (SECRET.spark_cluster_key, SECRET.spark_cluster_secret, "s3cret"):
        assert secret not in text
    assert environment["AWS_SECRET_ACCESS_KEY"] == "s3cret"
    assert worker[-1] == "spark://127.0.0.1:17077"
    assert "127.0.0.1" in master


def test_a_lake_that_is_a_folder_needs_no_keys(cluster):
    _, environment = cluster.worker_command(s3_keys=None, python={})
    assert not [name for name in environment if name.startswith("AWS")]


def test_a_cluster_that_is_away_is_told(cluster):
    away = replace(
        cluster, ports={**PREFERRED, "spark_rest": 1, "spark_master_ui": 1, "spark_history": 1}
    )
    assert "No Spark master answers" in (away.master_waiting_for() or "")
    assert "127.0.0.1:1" in (away.worker_waiting_for() or "")
    assert "127.0.0.1:1" in (away.history_waiting_for() or "")


def test_the_choice_is_remembered_until_it_is_changed(tmp_path):
    home = Home(tmp_path)
    assert not keep_cluster(home, None)
    assert keep_cluster(home, True)
    assert keep_cluster(home, None)
    assert not keep_cluster(home, False)
    assert not keep_cluster(home, None)


def test_its_services_are_shown_and_stopped():
    stopped = [name for group in STOP_ORDER for name in group]
    assert stopped.index("spark_worker") < stopped.index("spark_master") < stopped.index("postgres")
    assert set(CLUSTER) <= set(SHOWN)


def test_the_connection_names_the_master_with_its_key_or_no_cluster(cluster):
    plan = SimpleNamespace(credentials=SECRET, ports=PREFERRED)
    of = {
        has: next(
            connection
            for connection in airflow_config.connections(
                plan, spark="spark", cluster=cluster.endpoint if has else None
            )
            if connection["connection_id"] == "dataharbour_spark"
        )
        for has in (True, False)
    }
    assert (of[True]["host"], of[True]["port"]) == ("spark://127.0.0.1", 17077)
    assert of[True]["password"] == SECRET.spark_cluster_key
    assert SECRET.spark_cluster_key not in of[True]["extra"]
    assert of[False]["host"] == "local[*]"
    assert of[False]["password"] is None
    assert set(of[False]) == set(of[True]), "nothing of a cluster that was given up stays"
