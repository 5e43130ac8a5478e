"""What every backend must do, on real Spark; what only one of them does stands in its own file."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dataharbour.jobs.backends.connect import ConnectBackend
from dataharbour.jobs.backends.launch import StartedDriver
from dataharbour.jobs.backends.local import LocalBackend
from dataharbour.jobs.backends.standalone import StandaloneBackend
from dataharbour.jobs.model import Detail, FailureClass, Run

from .conftest import ENDLESS, Site, processes_below, until

pytestmark = pytest.mark.spark

WRITER = """
    import os, sys
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.appName("writer").getOrCreate()
    frame = spark.range(0, 1000, 1, 4)
    frame.write.parquet(sys.argv[1])
    print("rows", spark.read.parquet(sys.argv[1]).count())
    print("partitions", spark.conf.get("spark.sql.shuffle.partitions"))
    print("a warning", file=sys.stderr)
    names = ("PG", "AIRFLOW", "AWS", "_SPARK_AUTH", "DATAHARBOUR_DRIVER")
    print("secrets", sorted(n for n in os.environ if n.startswith(names)))
"""
MISSING_PATH = """
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.getOrCreate()
    spark.read.parquet("file:///nowhere/at/all").count()
"""


@dataclass
class Place:
    """A backend, and where its processes can be seen.

    Attributes:
        site: starts runs on it.
        folders: below them the processes of its runs work.
        has_jvm: whether a run has a JVM of its own.
    """

    site: Site
    folders: tuple[Path, ...]
    has_jvm: bool

    def left(self) -> list[str]:
        """What still runs of any run."""
        return [process for folder in self.folders for process in processes_below(folder)]

    def supervisor(self) -> int:
        """The process that supervises the one run that is under way."""
        if self.site.backend.name == "standalone":  # it hides from others of its user
            child = self._only(lambda process: "child.py" in process)
            return int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
        name = "dataharbour.jobs.driver "
        return self._only(lambda process: name in process and "java" not in process.split()[1])

    def jvm(self) -> int:
        """The driver's JVM of the one run that is under way."""
        return self._only(lambda process: "java" in process.split()[1] and "SparkSubmit" in process)

    def _only(self, fits: Callable[[str], bool]) -> int:
        found = [process for process in self.left() if fits(process)]
        assert len(found) == 1, self.left()
        return int(found[0].split()[0])


@pytest.fixture(params=["connect", "local", "standalone"])
def place(request, make_site) -> Iterator[Place]:
    """A backend; the runs of a test leave nothing behind."""
    if request.param == "standalone":
        cluster = request.getfixturevalue("spark_cluster")
        site = make_site(StandaloneBackend(lambda: cluster.endpoint))
        made = Place(site, (cluster.folder / "work",), has_jvm=True)
    elif request.param == "local":
        site = make_site(LocalBackend())
        made = Place(site, runs_of(site), has_jvm=True)
    else:
        server = request.getfixturevalue("connect_server")
        site = make_site(ConnectBackend(lambda: server))
        made = Place(site, runs_of(site), has_jvm=False)
    yield made
    site.stop_all()
    until(lambda: not made.left(), 15)


def test_it_runs_an_application_with_its_settings(place, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    site, target = place.site, tmp_path / "lake" / "t"
    run = site.start(WRITER, target.as_uri(), conf={"spark.sql.shuffle.partitions": "7"})
    state = site.end(run)
    assert (state.observed, state.exit_code) == (Detail.SUCCEEDED, 0), site.output(run)
    assert site.output(run, "stdout") == ["rows 1000", "partitions 7", "secrets []"]
    assert "a warning" in site.output(run, "stderr"), "told apart from standard output"
    assert "ERROR" not in "\n".join(site.output(run))
    progress = site.store.get(run.id).progress
    assert progress["stages"] >= progress["stages_done"] >= 1
    assert progress["tasks"] >= progress["tasks_done"] >= 1


def test_it_names_the_root_cause(place):
    state = place.site.end(place.site.start(MISSING_PATH))
    assert state.failure.failure_class is FailureClass.USER_ERROR
    first = state.failure.message.splitlines()[0]
    assert first.startswith("PATH_NOT_FOUND (42K03): Path does not exist: file:/nowhere")


def test_an_exit_code_is_passed_on(place):
    state = place.site.end(place.site.start("raise SystemExit(7)"))
    assert (state.observed, state.exit_code) == (Detail.FAILED, 7)


def test_a_run_that_takes_too_long_is_ended(place):
    source = "import time; print('up', flush=True); time.sleep(60)"
    state = place.site.end(place.site.start(source, timeout_s=2))
    assert state.observed is Detail.TIMED_OUT
    assert state.failure.failure_class is FailureClass.TIMEOUT
    until(lambda: not place.left(), 10)


def test_cancelling_ends_the_application_and_its_query_within_seconds(place):
    site, run = place.site, begun(place)
    asked = time.monotonic()
    site.store.cancel(run.id, now=run.created_at)
    state = site.end(run)
    assert state.observed is Detail.CANCELLED
    assert time.monotonic() - asked < 8  # on a busy machine; `harbour bench jobs` measures it
    until(lambda: not place.left(), 10)


def test_a_supervisor_that_is_killed_takes_everything_with_it(place):
    site, run = place.site, begun(place)
    external_id = site.store.wait(run.id, timeout_s=0).external_id
    assert site.backend.is_alive(external_id)
    os.kill(place.supervisor(), signal.SIGKILL)
    until(lambda: not place.left(), 15)
    until(lambda: site.backend.is_alive(external_id) is False, 10)
    site.expire_lease(run)
    attempt = site.store.wait(run.id, timeout_s=10)
    assert attempt.lapsed, "whoever waits for the run is told"
    # And does this: on a Connect server the session would stay until it expires.
    site.backend.kill(StartedDriver(attempt.attempt_id, external_id, run.principal))


def test_a_jvm_that_is_killed_ends_the_run(place):
    if not place.has_jvm:
        pytest.skip("its JVM is the server's, and no run's")
    site, run = place.site, begun(place)
    os.kill(place.jvm(), signal.SIGKILL)
    state = site.end(run, timeout_s=20)
    assert state.observed is Detail.FAILED
    assert state.failure.failure_class is FailureClass.INFRA, state.failure
    until(lambda: not place.left(), 15)


def test_of_two_drivers_of_one_attempt_one_runs_user_code(place):
    site = place.site
    context = site.open("import time; print('ran', flush=True); time.sleep(6)")
    # On this machine an attempt has one folder; a second driver needs another.
    elsewhere = replace(context.settings, home=context.settings.home / "second")
    site.backend.submit(replace(context, settings=elsewhere))
    run = site.submit(context)
    state = site.end(run)
    assert state.observed is Detail.SUCCEEDED
    until(lambda: not place.left(), 30)
    assert site.output(run, "stdout") == ["ran"]


def runs_of(site: Site) -> tuple[Path, ...]:
    """Where drivers of this machine work."""
    home = site.settings.home
    return (home / "runs", home / "second" / "runs")


def begun(place: Place) -> Run:
    """A run whose query is under way."""
    run = place.site.start(ENDLESS)
    until(lambda: "session" in place.site.output(run), 60)
    time.sleep(1)
    return run
