"""A driver that somebody else's program starts: what travels, what stays secret, what ends it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from dataharbour.jobs.driver import bundle
from dataharbour.jobs.driver.carried import MAX_PARTS, MAX_SOURCE, PART, Carried, TooLarge
from dataharbour.jobs.model import AttemptGrant, Detail

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SLEEPER = """
    import os, time
    print("pid", os.getpid(), flush=True)
    time.sleep(60)
"""


def carried(source: str, *args: str, **values) -> Carried:
    code = textwrap.dedent(source).encode()
    return Carried(
        **{
            "conninfo": "host=x",
            "run_id": "r",
            "attempt_id": "a",
            "ticket": "ticket",
            "application": "job.py",
            "sha256": hashlib.sha256(code).hexdigest(),
            "source": code,
            "args": list(args),
            **values,
        }
    )


@dataclass
class Cluster:
    """Starts the entry point as spark-submit would: a plain file, in the driver's own folder."""

    store: object
    conninfo: str
    root: Path
    entry: Path
    started: list[subprocess.Popen[bytes]]

    def start(self, grant: AttemptGrant, source: str, *args: str, name="driver-20261123120000-0001",
              through=(), **values):  # fmt: skip
        given = carried(
            source, *args, conninfo=self.conninfo, run_id=str(grant.run_id),
            attempt_id=str(grant.attempt_id), ticket=grant.token, **values,
        )  # fmt: skip
        folder = self.root / name
        folder.mkdir()
        with (folder / "stderr").open("wb") as log:
            process = subprocess.Popen(
                [*through, sys.executable, str(self.entry)],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "FROM_THE_JVM": "1", "_SECRET": "x"}
                | given.pack(),
                stdout=log,
                stderr=log,
            )
        self.started.append(process)
        return process

    def end(self, grant: AttemptGrant):
        state = self.store.wait(grant.run_id, timeout_s=20)
        assert state.ended, [path.read_text() for path in self.root.glob("*/stderr")]
        return state

    def lines(self, grant: AttemptGrant, stream: str = "stdout") -> list[str]:
        return [item.line for item in self.store.logs(grant.run_id).items if item.stream == stream]

    def pid(self, grant: AttemptGrant) -> int:
        line = until(lambda: self.lines(grant))[0]
        return int(line.split()[1])


@pytest.fixture
def cluster(store, driver_database, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(store, driver_database, tmp_path, bundle.write(tmp_path / "bundle"), [])
    yield made
    for process in made.started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(3)
        process.kill()
        process.wait()


@pytest.fixture
def grant(store, new_run) -> AttemptGrant:
    return store.start_attempt(new_run().id, backend="standalone", now=NOW)


def until(condition, seconds: float = 10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] in "ZX"
    except FileNotFoundError:
        return True


def test_what_is_packed_is_taken_out_whole_and_leaves_nothing():
    given = carried("print('ü', b'\\xff')", "a b", unset=["_SPARK_*"])
    environ = {"PATH": "/bin", **given.pack()}
    assert Carried.take(environ) == given
    assert environ == {"PATH": "/bin"}


def noise(count: int) -> str:
    """Text that cannot be compressed by much."""
    return base64.b64encode(random.Random(1).randbytes(count)).decode()


def test_a_large_application_travels_in_several_variables_up_to_a_limit():
    packed = carried(f"x = '{noise(300_000)}'").pack()
    assert 3 < len(packed) <= MAX_PARTS
    assert max(map(len, packed.values())) <= PART
    assert Carried.take(dict(packed)).source.startswith(b"x = ")
    with pytest.raises(TooLarge, match=r"has \d+ bytes"):
        carried("#" * (MAX_SOURCE + 1)).pack()
    with pytest.raises(TooLarge, match="when packed"):
        carried(f"x = '{noise(740_000)}'").pack()


def test_no_secret_is_shown():
    shown = repr(carried("1", conninfo="password=hunter2", secrets=["hunter3"]))
    assert "hunter" not in shown
    assert "ticket='ticket'" not in shown


def test_it_runs_the_application_that_it_carries(cluster, grant, store):
    process = cluster.start(
        grant,
        """
        import json, os, sys
        print(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]))
        """,
        "a b",
        environment={"DATAHARBOUR_LAKE": "file:///lake"},
        unset=["_SECRET"],
    )
    state = cluster.end(grant)
    assert (state.observed, state.exit_code) == (Detail.SUCCEEDED, 0)
    assert process.wait(10) == 0
    args, folder, variables = json.loads(cluster.lines(grant)[0])
    assert args == ["a b"]
    work = cluster.root / "driver-20261123120000-0001" / f"attempt-{grant.attempt_id}" / "work"
    assert folder == str(work)
    assert variables["FROM_THE_JVM"] == "1", "what the JVM gives its Python reaches the application"
    assert variables["DATAHARBOUR_LAKE"] == "file:///lake"
    assert "_SECRET" not in variables
    text = json.dumps(variables)
    assert "DATAHARBOUR_DRIVER_" not in text
    assert grant.token not in text
    assert "harbour_driver" not in text
    assert state.external_id == "driver-20261123120000-0001", "it says itself where it is"


def test_the_lakes_keys_are_hidden_that_it_finds_where_it_runs(cluster, grant):
    keys = {"AWS_ACCESS_KEY_ID": "the-cluster's-key", "AWS_SECRET_ACCESS_KEY": "its/secret"}
    source = """
        import os
        from urllib.parse import quote
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            print(os.environ[name], quote(os.environ[name], safe=""))
    """
    cluster.start(grant, source, through=["env", *map("=".join, keys.items())])
    assert cluster.end(grant).observed is Detail.SUCCEEDED
    assert cluster.lines(grant) == ["*** ***"] * 2


def test_its_exit_code_is_the_applications(cluster, grant):
    process = cluster.start(grant, "raise SystemExit(3)")
    assert cluster.end(grant).exit_code == 3
    assert process.wait(10) == 3


def test_of_two_drivers_one_runs_user_code_and_says_where_it_is(cluster, grant, store):
    source = "import time; print('ran', flush=True); time.sleep(2)"
    first = cluster.start(grant, source)
    second = cluster.start(grant, source, name="driver-20261123120000-0002")
    state = cluster.end(grant)
    assert cluster.lines(grant) == ["ran"]
    assert {first.wait(10), second.wait(10)} == {0}
    [ran] = cluster.root.glob("driver-*/attempt-*/driver.log")
    # What its submission answered comes late, and names the other one.
    other = {"driver-20261123120000-0001", "driver-20261123120000-0002"} - {ran.parents[1].name}
    store.submitted(grant.attempt_id, external_id=other.pop(), now=NOW)
    assert store.attempt_state(grant.attempt_id).external_id == ran.parents[1].name
    assert state.observed is Detail.SUCCEEDED


def test_the_ticket_is_worth_nothing_after_the_claim(cluster, grant, driver_database):
    cluster.start(grant, SLEEPER)
    cluster.pid(grant)
    with psycopg.connect(driver_database) as thief:
        for call in (
            "driver.renew(%s, %s)",
            "driver.finish(%s, %s, 'SUCCEEDED', 0, null, null)",
            "driver.claim(%s, %s, 'thief')",
            "driver.claim_by_ticket(%s, %s, 'thief', repeat('x', 40), null)",
        ):
            row = thief.execute(f"select {call}", [grant.attempt_id, grant.token]).fetchone()
            assert row[0] in (None, False), call


def test_a_claim_whose_answer_was_lost_is_asked_again(grant, driver_database, store):
    values = [grant.attempt_id, grant.token, "host:1:a", "t" * 40, "driver-1"]
    with psycopg.connect(driver_database, autocommit=True) as driver:
        for _ in range(2):
            query = "select driver.claim_by_ticket(%s, %s, %s, %s, %s)"
            assert driver.execute(query, values).fetchone() == (True,)
        assert driver.execute(
            "select driver.renew(%s, %s)", [grant.attempt_id, "t" * 40]
        ).fetchone()
        with pytest.raises(psycopg.DataError, match="too short"):
            driver.execute(query, [grant.attempt_id, grant.token, "host:1:a", "short", None])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look at everything")
def test_the_supervisor_is_closed_to_others_of_its_user(cluster, grant):
    cluster.start(grant, SLEEPER)
    child = cluster.pid(grant)
    supervisor = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    for name in ("environ", "mem", "fd"):
        with pytest.raises(PermissionError):
            os.open(f"/proc/{supervisor}/{name}", os.O_RDONLY)


def test_it_hides_before_it_reads_what_it_carries_any_further():
    code = (
        "import ctypes; from dataharbour.jobs.driver import cluster, carried;"
        "carried.Carried.take = lambda environ: None;"
        "cluster.prepare = lambda *_, **__: print(ctypes.CDLL(None).prctl(3)) or exit();"
        "cluster.main({})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "0\n", done.stderr


def test_when_what_started_it_is_killed_nothing_is_left(cluster, grant, store):
    through = [sys.executable, "-c", "import subprocess,sys; subprocess.call(sys.argv[1:])"]
    jvm = cluster.start(grant, SLEEPER, through=through)
    child = cluster.pid(grant)
    jvm.send_signal(signal.SIGKILL)
    state = cluster.end(grant)
    assert state.failure.failure_class == "INFRA"
    until(lambda: is_gone(child))


def test_cancelling_ends_it(cluster, grant, store):
    process = cluster.start(grant, SLEEPER)
    child = cluster.pid(grant)
    asked = time.monotonic()
    store.cancel(grant.run_id, now=NOW)
    assert cluster.end(grant).observed is Detail.CANCELLED
    assert process.wait(10) != 0
    assert is_gone(child)
    assert time.monotonic() - asked < 5


def test_the_bundle_is_complete_without_the_package(tmp_path: Path):
    entry = bundle.write(tmp_path / "bundle")
    assert bundle.write(tmp_path / "bundle") == entry, "and can be written again"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import dataharbour.jobs.driver.supervisor as s, dataharbour.jobs.driver.child;"
        "import dataharbour.jobs.driver.causes, dataharbour.jobs.driver.progress;"
        "print(s.__file__); assert 'airflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(entry.parents[3])],
        capture_output=True, text=True, cwd=tmp_path, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))
