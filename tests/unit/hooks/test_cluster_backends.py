"""What `yarn` and `k8s` tell spark-submit, and make of its answers; no cluster is here."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
from airflow.providers.apache.spark.hooks import spark_submit as provider

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.hooks import spark_submit as ours
from dataharbour.hooks.k8s import K8sBackend
from dataharbour.hooks.yarn import YarnBackend
from dataharbour.jobs.applications import resolve_application
from dataharbour.jobs.backends.launch import LaunchContext, StartedDriver
from dataharbour.jobs.driver.carried import Carried
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.jobs.model import AttemptGrant, RunRequest
from dataharbour.settings import Settings

RUN, ATTEMPT = UUID(int=1), UUID(int=2)
GOLDEN = Path(__file__).parent / "golden"
SECRETS = ("the-ticket", "driver-password", "lake-secret")

SUBMIT = """\
import json, os, re, sys
seen = {{"argv": sys.argv[1:], "environ": dict(os.environ)}}
at = sys.argv.index("--properties-file") + 1
seen["properties"] = open(sys.argv[at]).read()
seen["mode"] = os.stat(sys.argv[at]).st_mode & 0o777
json.dump(seen, open({seen!r}, "w"))
{then}
"""


@pytest.fixture
def context(tmp_path) -> LaunchContext:
    (tmp_path / "a.py").write_text("print('the application')")
    settings = Settings(
        home=tmp_path,
        include_dir=tmp_path,
        applications=(tmp_path,),
        lake="s3a://lake",
        java_home=None,
        spark_defaults=None,
        driver_dsn_file=tmp_path / "dsn",
    )
    return LaunchContext(
        grant=AttemptGrant(ATTEMPT, RUN, number=1, fence=1, token="the-ticket"),
        request=RunRequest(
            "a.py",
            args=("--day", "an-argument"),
            conf={"spark.executor.instances": "3", "spark.driver.memory": "2g"},
            labels={"name": "nightly"},
        ),
        application=resolve_application("a.py", settings.applications),
        principal="ana@example.org",
        settings=settings,
        driver_conninfo="host=db password=driver-password",
        lake=LakeEndpoint("s3a://lake", "http://s", "r", "lake-key", "lake-secret"),
    )


@pytest.fixture
def spark_submit(tmp_path, monkeypatch):
    """A program of that name, which keeps what it is told and then does `then`."""

    def make(then: str):
        program, seen = tmp_path / "bin" / "spark-submit", tmp_path / "seen.json"
        program.parent.mkdir(exist_ok=True)
        script = program.with_suffix(".py")
        script.write_text(SUBMIT.format(seen=str(seen), then=textwrap.dedent(then)))
        called = shlex.join([sys.executable, str(script)])  # either may have a space in it
        program.write_text(f'#!/bin/sh\nexec {called} "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "fernet-key")
        monkeypatch.setenv("HADOOP_CONF_DIR", "/etc/hadoop")
        return lambda: json.loads(seen.read_text())

    return make


@pytest.fixture
def yarn(connection):
    connection(
        "dataharbour_yarn",
        conn_type="spark",
        host="yarn",
        extra={
            "queue": "etl",
            "driver_file": "/opt/dataharbour/dataharbour/jobs/driver/cluster.py",
            "yarn_resourcemanager_webapp_address": "http://127.0.0.1:1",
        },
    )
    return YarnBackend()


class ApiException(Exception):
    def __init__(self, status):
        super().__init__(status)
        self.status = status


@pytest.fixture
def pods(monkeypatch):
    """Kubernetes, of which pods are known by their phase; its provider is not installed here."""
    phases: dict[str, str] = {}
    deleted: list[str] = []

    def read(name, _namespace):
        if name not in phases:
            raise ApiException(404)
        return SimpleNamespace(status=SimpleNamespace(phase=phases[name]))

    def delete(name, _namespace, **_):
        deleted.append(name)
        if phases.pop(name, None) is None:
            raise ApiException(404)

    client = SimpleNamespace(read_namespaced_pod=read, delete_namespaced_pod=delete)
    kube = SimpleNamespace(get_kube_client=lambda: client, ApiException=ApiException)
    monkeypatch.setattr(provider, "kube_client", kube, raising=False)
    options = SimpleNamespace(client=SimpleNamespace(V1DeleteOptions=dict))
    monkeypatch.setitem(sys.modules, "kubernetes", options)
    return SimpleNamespace(phases=phases, deleted=deleted)


@pytest.fixture
def k8s(connection, pods):
    connection(
        "dataharbour_k8s",
        conn_type="spark",
        host="k8s://https://k.example",
        port=6443,
        extra={"image": "spark@sha256:1", "namespace": "jobs", "service_account": "spark"},
    )
    return K8sBackend()


def golden(name: str, argv: list[str]) -> None:
    """The argv is as the file says; REWRITE_GOLDEN=1 writes the files anew."""
    at = argv.index("--properties-file") + 1
    found = json.dumps([*argv[:at], "PROPERTIES", *argv[at + 1 :]], indent=2)
    found = found.replace(str(ours.SHIPPED), "SHIPPED") + "\n"
    if os.environ.get("REWRITE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / name).write_text(found)
    assert found == (GOLDEN / name).read_text()


def carried(properties: str, prefix: str) -> Carried:
    pairs = (line.split("=", 1) for line in properties.splitlines())
    return Carried.take({key.removeprefix(prefix): value for key, value in pairs})


def test_yarn_is_told_everything_but_secrets_by_arguments(yarn, context, spark_submit):
    seen = spark_submit("print('INFO: Submitted application application_17_0004')")
    assert yarn.submit(context) == "application_17_0004"
    golden("yarn.json", seen()["argv"])


def test_k8s_is_told_everything_but_secrets_by_arguments(k8s, context, spark_submit):
    seen = spark_submit("")
    assert k8s.submit(context) == f"jobs:dataharbour-{ATTEMPT}"
    golden("k8s.json", seen()["argv"])


@pytest.mark.parametrize(
    ("backend", "prefix"),
    [
        pytest.param("yarn", "spark.yarn.appMasterEnv.", id="yarn"),
        pytest.param("k8s", "spark.kubernetes.driverEnv.", id="k8s"),
    ],
)
def test_the_attempt_travels_in_a_private_file(request, context, spark_submit, backend, prefix):
    seen = spark_submit("print('application_17_0004')")
    request.getfixturevalue(backend).submit(context)
    told = seen()
    assert told["mode"] == stat.S_IRUSR | stat.S_IWUSR
    properties_file = Path(told["argv"][told["argv"].index("--properties-file") + 1])
    assert not properties_file.exists()
    assert all(line.startswith(prefix) for line in told["properties"].splitlines())
    attempt = carried(told["properties"], prefix)
    assert (attempt.ticket, attempt.attempt_id) == ("the-ticket", str(ATTEMPT))
    assert attempt.source == b"print('the application')"
    assert attempt.args == ["--day", "an-argument"]
    assert "lake-" not in json.dumps(asdict(replace(attempt, source="")))
    shown = json.dumps([told["argv"], told["environ"]])
    for secret in (*SECRETS, "an-argument", "fernet-key"):
        assert secret not in shown
    assert told["environ"]["HADOOP_CONF_DIR"] == "/etc/hadoop"
    redacted = next(a for a in told["argv"] if a.startswith("spark.redaction.regex="))
    assert "DATAHARBOUR_DRIVER" in redacted


@pytest.mark.parametrize("backend", ["yarn", "k8s"])
def test_a_cluster_that_cannot_be_reached_is_told(request, context, spark_submit, backend):
    spark_submit("print('Connection refused: rm.example:8032'); sys.exit(1)")
    with pytest.raises(Unavailable, match="did not take the driver") as caught:
        request.getfixturevalue(backend).submit(context)
    assert "Connection refused: rm.example:8032" in caught.value.problem
    assert f"dataharbour_{backend}" in caught.value.remedy
    assert "the-ticket" not in str(caught.value)


def test_one_that_says_nothing_is_not_waited_for(yarn, context, spark_submit, monkeypatch):
    monkeypatch.setattr(ours, "SUBMIT_WITHIN_S", 1.0)
    spark_submit("import time; print('retrying', flush=True); time.sleep(60)")
    with pytest.raises(Unavailable, match="said nothing for 1 s"):
        yarn.submit(context)


def test_without_spark_submit_it_says_so(yarn, context, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no program 'spark-submit'"):
        yarn.submit(context)


def test_without_a_connection_it_is_no_yarn_by_chance(context):
    with pytest.raises(ConfigError, match="no connection 'dataharbour_yarn'"):
        YarnBackend().submit(context)


def test_a_connection_to_something_else_is_refused(connection, context):
    connection("dataharbour_yarn", conn_type="spark", host="local")
    with pytest.raises(ConfigError, match="'dataharbour_yarn' has the master 'local'"):
        YarnBackend().submit(context)


def test_without_its_provider_kubernetes_is_told(connection, context, monkeypatch):
    monkeypatch.delattr(provider, "kube_client", raising=False)
    connection("dataharbour_k8s", conn_type="spark", host="k8s://https://k.example")
    with pytest.raises(ConfigError) as caught:
        K8sBackend().submit(context)
    assert "apache-airflow-providers-cncf-kubernetes" in caught.value.remedy


def test_without_an_image_kubernetes_is_not_asked(connection, pods, context):
    connection("dataharbour_k8s", conn_type="spark", host="k8s://https://k.example")
    with pytest.raises(ConfigError, match="has no image"):
        K8sBackend().submit(context)


def test_a_pod_that_is_there_already_is_the_one(k8s, context, spark_submit):
    spark_submit(
        "print('io.fabric8...: pods \"dataharbour-x\" already exists, reason=AlreadyExists');"
        "sys.exit(1)"
    )
    assert k8s.submit(context) == f"jobs:dataharbour-{ATTEMPT}"


def test_kubernetes_tells_whether_a_driver_lives(k8s, pods):
    pod = f"dataharbour-{ATTEMPT}"
    assert k8s.is_alive(f"jobs:{pod}") is None
    for phase, alive in {
        "Pending": True,
        "Running": True,
        "Failed": False,
        "Unknown": None,
    }.items():
        pods.phases[pod] = phase
        assert k8s.is_alive(f"jobs:{pod}") is alive


def test_kubernetes_ends_a_driver_whose_id_was_lost(k8s, pods):
    pods.phases[f"dataharbour-{ATTEMPT}"] = "Running"
    driver = StartedDriver(ATTEMPT, None, "ana")
    k8s.kill(driver)
    assert pods.phases == {}
    k8s.kill(driver)  # again: no error
    assert set(pods.deleted) == {f"dataharbour-{ATTEMPT}"}


@pytest.fixture
def resource_manager(monkeypatch):
    """YARN's REST: applications by id with their state."""
    states: dict[str, str] = {}
    asked: list[str] = []

    def reply(body, status=200):
        return SimpleNamespace(
            status_code=status, text="", json=lambda: body, raise_for_status=lambda: None
        )

    def get(url, **given):
        asked.append(url)
        if url.endswith("/apps"):
            asked.append(given["params"]["applicationTags"])
            return reply({"apps": {"app": [{"id": name} for name in states]}})
        name = url.rpartition("/")[2]
        return reply({"app": {"state": states[name], "finalStatus": "UNDEFINED"}})

    def put(url, **given):
        states[url.split("/")[-2]] = given["json"]["state"]
        return reply({})

    monkeypatch.setattr("requests.get", get)
    monkeypatch.setattr("requests.put", put)
    return SimpleNamespace(states=states, asked=asked)


def test_yarn_tells_whether_a_driver_lives(yarn, resource_manager):
    for state, alive in {"ACCEPTED": True, "RUNNING": True, "KILLED": False, "?": None}.items():
        resource_manager.states["application_1"] = state
        assert yarn.is_alive("application_1") is alive


def test_yarn_ends_a_driver_and_sees_it_end(yarn, resource_manager):
    resource_manager.states["application_1"] = "RUNNING"
    yarn.kill(StartedDriver(ATTEMPT, "application_1", "ana"))
    assert resource_manager.states == {"application_1": "KILLED"}


def test_yarn_ends_a_driver_whose_id_was_lost_by_its_tag(yarn, resource_manager):
    resource_manager.states["application_1"] = "RUNNING"
    yarn.kill(StartedDriver(ATTEMPT, None, "ana"))
    assert f"dataharbour-{ATTEMPT}" in resource_manager.asked
    assert resource_manager.states == {"application_1": "KILLED"}


def test_a_cluster_that_is_away_is_no_error_to_kill_and_no_answer(yarn):
    assert yarn.is_alive("application_1") is None
    yarn.kill(StartedDriver(ATTEMPT, "application_1", "ana"))


def test_the_shipped_file_goes_on_in_the_entry_point(tmp_path):
    entry = tmp_path / "cluster.py"
    entry.write_text("import sys; print(__name__, __file__, sys.argv)")
    environment = {**os.environ, "DATAHARBOUR_DRIVER_FILE": str(entry)}
    command = [sys.executable, str(ours.SHIPPED)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split(" ", 2) == ["__main__", str(entry), f"['{entry}']\n"]


def test_nodes_without_the_entry_point_are_told(tmp_path):
    environment = {**os.environ, "DATAHARBOUR_DRIVER_FILE": "/no/cluster.py"}
    command = [sys.executable, str(ours.SHIPPED)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "/no/cluster.py is not on this machine. Set driver_file" in done.stderr
