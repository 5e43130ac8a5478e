"""Memory and processor time of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

from dataharbour.jobs.driver.usage import Usage, descendants
from dataharbour.jobs.model import Detail

MIB = 2**20

FORKS = """
    import os, time
    shared = b"x" * (100 << 20)
    pids = [os.fork() or (time.sleep(60), os._exit(0)) for _ in range(5)]
    print("ready", flush=True)
    time.sleep(60)
"""


def test_pages_that_processes_share_count_once():
    before = Usage()  # other tests have left servers running below this process
    before.sample()
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FORKS)],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        child.stdout.readline()
        usage = Usage()
        usage.sample()
        assert len(set(descendants(os.getpid())) & set(descendants(child.pid))) == 5
        more = usage.peak_bytes - before.peak_bytes
        assert 80 * MIB < more < 300 * MIB, "not six times as much"
    finally:
        os.killpg(child.pid, 9)
        child.wait()
        child.stdout.close()


def test_a_process_that_has_ended_has_no_descendants():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert list(descendants(child.pid)) == []


def test_nothing_that_was_not_measured_is_told():
    assert Usage().metrics() == {}


def test_a_run_keeps_what_its_driver_used(launch, store):
    driver = launch("""
        import subprocess, sys, time
        subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"])  # time of a child
        held = b"x" * (200 << 20)
        time.sleep(1.2)
    """)
    state = driver.end(40)
    assert state.observed is Detail.SUCCEEDED
    assert 200 * MIB < state.metrics["peak_memory_bytes"] < 300 * MIB
    assert 0.1 < state.metrics["cpu_s"] < 20
    assert store.get(driver.grant.run_id).metrics == state.metrics


def test_a_peak_between_two_looks_is_not_missed(launch):
    state = launch("held = b'x' * (200 << 20)").end()
    assert state.metrics["peak_memory_bytes"] > 200 * MIB


def test_a_long_run_tells_meanwhile(launch, store):
    driver = launch("""
        import time
        held = b"x" * (100 << 20)
        time.sleep(60)
    """)
    deadline = time.monotonic() + 20
    while (metrics := store.get(driver.grant.run_id).metrics) is None:
        assert time.monotonic() < deadline, "the first word comes after ten seconds"
        time.sleep(0.2)
    assert metrics["peak_memory_bytes"] > 100 * MIB
    store.cancel(driver.grant.run_id, grace_s=0, now=store.get(driver.grant.run_id).created_at)
    assert driver.end().metrics["peak_memory_bytes"] >= metrics["peak_memory_bytes"]


def test_the_next_attempt_begins_with_nothing(launch, store):
    driver = launch("pass")
    driver.end()
    now = store.get(driver.grant.run_id).created_at
    store.finish(driver.grant.run_id, detail=Detail.RETRY_WAIT, now=now)
    store.start_attempt(driver.grant.run_id, backend="plain", now=now)
    assert store.get(driver.grant.run_id).metrics is None
    assert store.attempt_state(driver.grant.attempt_id).metrics is not None
