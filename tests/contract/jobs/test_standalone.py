"""What only `standalone` does: a cluster behind closed doors, and answers that get lost."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.jobs.backends.launch import StartedDriver
from dataharbour.jobs.backends.master import Master, sign
from dataharbour.jobs.backends.standalone import StandaloneBackend
from dataharbour.jobs.clusters import look_at, standalone
from dataharbour.jobs.model import Detail

from .conftest import until

pytestmark = pytest.mark.spark

COUNT = """
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.getOrCreate()
    context = spark.sparkContext
    conf = context.getConf()
    print(spark.range(0, 1000, 1, 4).count(), context.master.partition(":")[0])
    print(conf.get("spark.executor.memory"), conf.get("spark.cores.max"))
"""


@pytest.fixture
def site(make_site, spark_cluster):
    return make_site(StandaloneBackend(lambda: spark_cluster.endpoint))


def test_an_application_runs_on_executors_of_the_cluster(site, spark_cluster):
    conf = {"spark.executor.memory": "600m", "spark.executor.instances": 2}
    run = site.start(COUNT, conf=conf)
    state = site.end(run)
    assert state.observed is Detail.SUCCEEDED, site.output(run)
    assert site.output(run, "stdout") == ["1000 spark", "600m 2"]
    [noted] = [line for line in site.output(run, "harbour") if "application" in line]
    assert noted.startswith("Spark application app-")
    assert site.store.get(run.id).progress["application"] == noted.rpartition(" ")[2]
    assert state.external_id.startswith("driver-")
    page = Master(spark_cluster.endpoint).page()  # its JVM may be about to leave
    seen = [*page["activeapps"], *page["completedapps"]]
    assert noted.rpartition(" ")[2] in {app["id"] for app in seen}


def test_an_application_that_names_another_master_is_told_of_it(site):
    run = site.start(
        """
        from pyspark.sql import SparkSession
        SparkSession.builder.master("local[1]").getOrCreate().range(1).count()
        """
    )
    assert site.end(run).observed is Detail.SUCCEEDED
    assert any("not on the cluster" in line for line in site.output(run, "harbour"))


def test_a_driver_that_waits_for_cores_is_submitted_and_no_more(site, spark_cluster):
    run = site.start("print('ran')", conf={"spark.driver.cores": "64"})
    time.sleep(1)
    state = site.store.wait(run.id, timeout_s=0)
    assert state.observed is Detail.SUBMITTED
    assert site.backend.is_alive(state.external_id), "the master has it in its queue"
    driver = StartedDriver(state.attempt_id, state.external_id, "ana")
    site.backend.kill(driver)
    assert site.backend.is_alive(state.external_id) is False
    site.backend.kill(driver)  # gone already: no error
    assert site.output(run) == []


def test_an_answer_that_gets_lost_costs_no_second_run(make_site, spark_cluster):
    with losing_proxy(spark_cluster.endpoint.rest_urls[0], answers_to_lose=1) as proxy:
        endpoint = replace(spark_cluster.endpoint, rest_urls=(proxy.url,))
        site = make_site(StandaloneBackend(lambda: endpoint, timeout_s=2))
        run = site.start("import time; print('ran', flush=True); time.sleep(3)")
        state = site.end(run)
        assert proxy.posts == 2, "the master took it twice"
    assert state.observed is Detail.SUCCEEDED
    drivers = Master(spark_cluster.endpoint)
    until(lambda: not drivers.page()["activedrivers"], 30)
    assert site.output(run, "stdout") == ["ran"]
    assert drivers.state(state.external_id) == "FINISHED"


def test_a_master_that_never_answers_is_unavailable_and_the_driver_may_still_come(
    make_site, spark_cluster
):
    with losing_proxy(spark_cluster.endpoint.rest_urls[0], answers_to_lose=9) as proxy:
        endpoint = replace(spark_cluster.endpoint, rest_urls=(proxy.url,))
        site = make_site(StandaloneBackend(lambda: endpoint, timeout_s=1))
        context = site.open("print('ran')")
        with pytest.raises(Unavailable, match="did not answer"):
            site.backend.submit(context)
    state = site.store.wait(context.grant.run_id, timeout_s=60)
    assert state.observed is Detail.SUCCEEDED
    assert state.external_id.startswith("driver-"), "the driver said itself where it is"
    drivers = Master(spark_cluster.endpoint)
    until(lambda: not drivers.page()["activedrivers"], 30)
    assert site.output(site.store.get(context.grant.run_id), "stdout") == ["ran"]


def test_of_several_masters_the_one_that_answers_is_asked(make_site, spark_cluster):
    urls = ("http://127.0.0.1:1", *spark_cluster.endpoint.rest_urls)
    backend = StandaloneBackend(lambda: replace(spark_cluster.endpoint, rest_urls=urls))
    assert Master(backend._endpoint()).state("driver-20200101000000-0000") is None
    assert backend.is_alive("driver-20200101000000-0000") is None, "unknown is not over"


def test_a_cluster_that_is_away_is_told_and_its_drivers_are_not_called_dead(
    make_site, spark_cluster
):
    gone = replace(spark_cluster.endpoint, rest_urls=("http://127.0.0.1:1",))
    site = make_site(StandaloneBackend(lambda: gone))
    with pytest.raises(Unavailable, match=r"No Spark master answers: http://127.0.0.1:1"):
        site.start("print(1)")
    assert site.backend.is_alive("driver-20200101000000-0000") is None


def test_a_wrong_key_is_told(make_site, spark_cluster):
    wrong = replace(spark_cluster.endpoint, key="A" * 44)
    site = make_site(StandaloneBackend(lambda: wrong))
    with pytest.raises(ConfigError, match="does not take our key"):
        site.start("print(1)")


def test_the_list_of_clusters_says_what_the_master_says(site, spark_cluster):
    run = site.start("print('up', flush=True); import time; time.sleep(60)")
    until(lambda: site.output(run, "stdout"), 60)
    [seen] = look_at({"standalone": standalone(lambda: spark_cluster.endpoint)})
    assert (seen.state, seen.reason) == ("healthy", None)
    assert (seen.cores, seen.memory_mb) == (4, 4096)
    assert (seen.cores_used, seen.memory_used_mb) == (1, 768), "what the driver has"
    external_id = site.store.wait(run.id, timeout_s=0).external_id
    assert [(driver.id, driver.state) for driver in seen.drivers] == [(external_id, "RUNNING")]
    site.store.cancel(run.id, now=run.created_at)
    site.end(run)


def test_every_door_is_closed_to_who_has_no_fresh_signed_token(spark_cluster):
    ports, key, now = spark_cluster.ports, spark_cluster.key, int(time.time())
    rest = f"http://127.0.0.1:{ports['spark_rest']}"
    doors = [
        ("POST", f"{rest}/v1/submissions/create"),
        ("POST", f"{rest}/v1/submissions/kill/driver-1"),
        ("POST", f"{rest}/v1/submissions/killall"),
        ("GET", f"{rest}/v1/submissions/status/driver-1"),
        ("GET", f"{rest}/v1/submissions/readyz"),
        *(
            ("GET", f"http://127.0.0.1:{ports[ui]}{path}")
            for ui in ("spark_master_ui", "spark_worker_ui")
            for path in ("/", "/json/", "/metrics/json", "/static/webui.css", "/logPage")
        ),
        ("POST", f"http://127.0.0.1:{ports['spark_master_ui']}/app/kill/"),
        ("POST", f"http://127.0.0.1:{ports['spark_master_ui']}/driver/kill/"),
    ]
    tokens = {
        "none": None,
        "no token": "Bearer x",
        "another key": f"Bearer {sign('A' * 44, until=now + 60)}",
        "expired": f"Bearer {sign(key, until=now - 5)}",
        "without exp": f"Bearer {unlimited(key)}",
    }
    for method, url in doors:
        for what, token in tokens.items():
            assert ask(method, url, token) == 403, (method, url, what)
    good = f"Bearer {sign(key, until=now + 60)}"
    assert ask("GET", f"http://127.0.0.1:{ports['spark_master_ui']}/json/", good) == 200


def test_the_files_with_the_key_are_their_accounts_alone(spark_cluster):
    for name in ("master.conf", "worker.conf"):
        file = spark_cluster.folder / name
        assert spark_cluster.key in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
    assert spark_cluster.secret not in " ".join(
        [
            *spark_cluster.master_command()[0],
            *spark_cluster.worker_command(s3_keys=None, python={})[0],
        ]
    )


def test_a_stranger_on_the_rpc_port_registers_no_worker(spark_cluster):
    import os
    import subprocess

    stranger = replace(spark_cluster, secret="not the cluster's")
    command, environment = stranger.worker_command(s3_keys=None, python={})
    command[command.index("--webui-port") + 1] = "0"
    before = Master(spark_cluster.endpoint).page()["aliveworkers"]
    done = subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"], **environment},
        cwd=spark_cluster.files.work_dir,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(6)
        assert Master(spark_cluster.endpoint).page()["aliveworkers"] == before
    finally:
        done.kill()
        done.wait()


def unlimited(key: str) -> str:
    """A token that never expires."""
    import base64

    import jwt

    return jwt.encode({"sub": "x"}, base64.urlsafe_b64decode(key), "HS256")


def ask(method: str, url: str, token: str | None) -> int:
    headers = {"Authorization": token} if token else {}
    data = json.dumps({}).encode() if method == "POST" else None
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


class LosingProxy:
    """Passes requests on to a master, and closes the connection in place of some answers."""

    def __init__(self, target: str, *, answers_to_lose: int) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._to_lose = answers_to_lose
        self.posts = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as master:
            request = b""
            while not is_whole(request):
                request += client.recv(65_536)
            self.posts += request.startswith(b"POST /v1/submissions/create")
            master.sendall(request)
            answer = master.recv(65_536)  # the master has done it by now
            if self._to_lose:
                self._to_lose -= 1
                return
            client.sendall(answer)


def is_whole(request: bytes) -> bool:
    head, found, body = request.partition(b"\r\n\r\n")
    if not found:
        return False
    lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    return not lengths or len(body) >= int(lengths[0].partition(b":")[2])


@contextmanager
def losing_proxy(target: str, *, answers_to_lose: int) -> Iterator[LosingProxy]:
    proxy = LosingProxy(target, answers_to_lose=answers_to_lose)
    try:
        yield proxy
    finally:
        proxy.close()
