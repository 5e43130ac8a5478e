"""`up --cluster` on the running platform: master and worker come, do real work, and go again."""

from __future__ import annotations

import json
import os
import pwd
import time
import urllib.error
import urllib.request

import pytest

from dataharbour.platform import ports
from dataharbour.platform.accounts import SPARK

pytestmark = pytest.mark.integration

NAMES = ("spark_master", "spark_worker")


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


def test_master_and_worker_run_as_sparks_account(with_cluster):
    found = services(with_cluster)
    assert {row["state"] for row in found.values()} == {"running"}
    assert len(found) == 2
    assert {row["host"] for row in found.values()} == {"127.0.0.1"}
    owner = pwd.getpwuid(os.stat(f"/proc/{found['spark_master']['pid']}").st_uid).pw_name
    assert owner == (SPARK if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)


def test_a_job_reads_and_writes_the_lake_on_executors(with_cluster):
    run = ended(
        with_cluster,
        {
            "application": "flights_delays.py",
            "args": ["--raw", "{lake}/raw/nycflights13", "--output", "{output}"],
            "backend": "standalone",
        },
    )
    assert run["state"] == "SUCCEEDED", run["failure"]
    assert run["progress"]["application"].startswith("app-")


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
