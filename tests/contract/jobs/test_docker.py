"""A real container engine: what a run does there, what it cannot do, and how it is ended."""

from __future__ import annotations

import os
import signal
import time

import pytest

from dataharbour.jobs.backends.docker import DockerBackend, DockerPlace
from dataharbour.jobs.backends.launch import StartedDriver
from dataharbour.jobs.container.body import Limits, container_name
from dataharbour.jobs.model import Detail, FailureClass

from .engine import python_root, running_engine, spark_root

pytestmark = pytest.mark.integration

ENDLESS = """
    import time
    print("up", flush=True)
    try:
        time.sleep(600)
    finally:
        print("down", flush=True)
"""
DEAF = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up", flush=True)
    while True:
        time.sleep(1)
"""


@pytest.fixture(scope="module")
def engine():
    with running_engine() as found:
        yield found


@pytest.fixture(scope="module")
def image(engine, tmp_path_factory):
    return engine.image(python_root(tmp_path_factory.mktemp("image") / "root.tar"))


class Bare:
    """What the hook is to the backend, without Airflow."""

    def __init__(self, engine, place):
        self.engine, self.place = engine, place

    def have_image(self):
        self.engine.client().inspect_image(self.place.image)

    def remove(self, name):
        from dataharbour.jobs.container.run import remove

        remove(self.engine.client(), name)


@pytest.fixture
def make(engine, make_site):
    def make_docker(image, **limits):
        limits = {"memory_bytes": 2**30, "cpus": 1.0, "pids": 100, **limits}
        place = DockerPlace(engine.socket, image, Limits(**limits))
        return make_site(DockerBackend(lambda: Bare(engine, place)))

    return make_docker


@pytest.fixture
def site(make, image):
    return make(image)


def until(condition, seconds: float):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_an_application_runs_and_its_streams_are_told_apart(site, engine, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    run = site.start(
        """
        import os, sys
        print("given", *sys.argv[1:])
        print("a warning", file=sys.stderr)
        print("user", os.getuid(), "home", os.path.expanduser("~"))
        print("secrets", sorted(n for n in os.environ if n.startswith(("PG", "AIRFLOW", "AWS"))))
        """,
        "a b",
    )
    state = site.end(run)
    assert state.observed is Detail.SUCCEEDED, site.output(run)
    user = os.getuid() or 65534
    assert site.output(run, "stdout") == [
        "given a b", f"user {user} home /run/dataharbour/work", "secrets []",
    ]  # fmt: skip
    assert site.output(run, "stderr") == ["a warning"]
    assert engine.containers() == []


def test_it_names_the_root_cause_and_the_exit_code(site):
    state = site.end(site.start("raise KeyError('no such day')"))
    assert state.failure.failure_class is FailureClass.USER_ERROR
    assert state.failure.message.startswith("KeyError: 'no such day'")
    assert site.end(site.start("raise SystemExit(7)")).exit_code == 7


def test_nothing_is_open(site, tmp_path):
    (tmp_path / "lake/gold").mkdir(parents=True)
    (tmp_path / "lake/gold/part").write_text("published")
    run = site.start(
        """
        import os, pathlib, socket, sys

        def may(what):
            try:
                return what() or "yes"
            except OSError as error:
                return type(error).__name__

        lake, staging = map(pathlib.Path, (sys.argv[1], sys.argv[1] + "/.attempts/"
                                           + os.environ["DATAHARBOUR_ATTEMPT_ID"]))
        status = dict(l.split(":\\t", 1) for l in open("/proc/self/status") if ":\\t" in l)
        print("interfaces", [n for _, n in socket.if_nameindex()])
        print("connect", may(lambda: socket.create_connection(("10.0.0.1", 80), 2)))
        print("capabilities", int(status["CapEff"], 16), int(status["CapBnd"], 16))
        print("privileges", status["NoNewPrivs"].strip())
        print("root", may(lambda: open("/x", "w")), may(lambda: open("/opt/application/x", "w")))
        print("read lake", (lake / "gold/part").read_text())
        print("write lake", may(lambda: open(lake / "gold/part", "w")))
        print("write staging", may(lambda: (staging / "t").mkdir()))
        print("tmp", may(lambda: os.mkdir("/tmp/x")))
        print("host", [p for p in ("/work", "/home", "/var/run/docker.sock") if os.path.exists(p)])
        """,
        str(tmp_path / "lake"),
    )
    assert site.end(run).observed is Detail.SUCCEEDED, site.output(run)
    assert dict(line.split(" ", 1) for line in site.output(run, "stdout")) == {
        "interfaces": "['lo']",
        "connect": "OSError",
        "capabilities": "0 0",
        "privileges": "1",
        "root": "OSError OSError",
        "read": "lake published",
        "write": "staging yes",
        "tmp": "yes",
        "host": "[]",
    }
    assert "write lake OSError" in site.output(run, "stdout")


def test_processes_are_limited(site):
    run = site.start("""
        import os, signal, time
        made = []
        try:
            for _ in range(300):
                made.append(os.fork())
                if made[-1] == 0:
                    time.sleep(60)
        except BlockingIOError:
            print("no more", 10 < len(made) < 110)
        for pid in made:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    """)
    assert site.end(run).observed is Detail.SUCCEEDED, site.output(run)
    assert site.output(run, "stdout") == ["no more True"]


def test_too_much_memory_is_out_of_memory(make, image):
    site = make(image, memory_bytes=2**30)
    state = site.end(site.start("x = [bytearray(2**20) for _ in range(4096)]"))
    assert state.exit_code == 137
    assert state.failure.failure_class is FailureClass.OUT_OF_MEMORY
    assert "reached its memory limit" in state.failure.message


def test_a_cancelled_application_may_tidy_up(site, engine):
    run = site.start(ENDLESS)
    until(lambda: "up" in site.output(run), 30)
    asked = time.monotonic()
    site.store.cancel(run.id, now=run.created_at)
    assert site.end(run).observed is Detail.CANCELLED
    assert "down" in site.output(run, "stdout")
    assert engine.containers() == []
    assert time.monotonic() - asked < 10


def test_one_that_does_not_listen_is_killed_and_gone_when_that_is_told(site, engine):
    run = site.start(DEAF)
    until(lambda: "up" in site.output(run), 30)
    site.store.cancel(run.id, grace_s=1, now=run.created_at)
    assert site.end(run).observed is Detail.CANCELLED
    assert engine.containers() == []


def test_a_container_ends_with_its_supervisor(site, engine):
    run = site.start(DEAF)
    until(lambda: "up" in site.output(run), 30)
    attempt = site.store.wait(run.id, timeout_s=0)
    name = container_name(attempt.attempt_id)
    client = engine.client()
    assert client.inspect_container(name)["State"]["Running"]
    os.kill(int(attempt.external_id.split(":")[1]), signal.SIGKILL)
    until(lambda: not client.inspect_container(name)["State"]["Running"], 10)
    assert site.backend.is_alive(attempt.external_id) is False
    driver = StartedDriver(attempt.attempt_id, attempt.external_id, run.principal)
    site.backend.kill(driver)
    assert engine.containers() == []
    site.backend.kill(driver)  # again: no error


def test_kill_ends_a_driver_that_lives(site, engine):
    run = site.start(DEAF)
    until(lambda: "up" in site.output(run), 30)
    attempt = site.store.wait(run.id, timeout_s=0)
    site.backend.kill(StartedDriver(attempt.attempt_id, attempt.external_id, run.principal))
    until(lambda: engine.containers() == [], 10)
    assert site.backend.is_alive(attempt.external_id) is False


def test_a_program_that_the_image_lacks_is_told(make, engine, image, make_site):
    place = DockerPlace(engine.socket, image, Limits(2**30, 1, 100), spark_submit="/no/submit")
    site = make_site(DockerBackend(lambda: Bare(engine, place)))
    state = site.end(site.start(""))
    assert state.exit_code == 127
    assert "/no/submit: No such file or directory" in state.failure.message


@pytest.mark.spark
def test_spark_runs_in_a_container_without_a_network(make, engine, java_home, tmp_path):
    image = engine.image(spark_root(tmp_path / "root.tar", java_home))
    site = make(image, memory_bytes=2 * 2**30, cpus=2.0, pids=500)
    run = site.start(
        """
        import os, sys
        from pyspark.sql import SparkSession
        spark = SparkSession.builder.getOrCreate()
        target = sys.argv[1] + "/.attempts/" + os.environ["DATAHARBOUR_ATTEMPT_ID"] + "/t"
        spark.range(0, 1000, 1, 4).write.parquet("file://" + target)
        print("rows", spark.read.parquet("file://" + target).count(), spark.sparkContext.master)
        """,
        str(tmp_path / "lake"),
        conf={"spark.sql.shuffle.partitions": "2", "spark.driver.memory": "1g"},
    )
    state = site.end(run, timeout_s=180)
    assert state.observed is Detail.SUCCEEDED, "\n".join(site.output(run))
    assert site.output(run, "stdout") == ["rows 1000 local[2]"]
    assert site.store.get(run.id).progress["stages"] >= 1
    attempt = tmp_path / "lake/.attempts" / str(state.attempt_id)
    assert list((attempt / "t").glob("*.parquet"))
