from __future__ import annotations

import subprocess
import sys

import pytest

from dataharbour.jobs.driver.process import start_ticks
from dataharbour.platform.driver_pool import PAUSE_S, TRY_AGAIN_S, DriverPool
from dataharbour.platform.layout import Home


class Pool(DriverPool):
    """One whose drivers are other programs, and whose clock the test turns."""

    def __init__(self, home: Home, size: int) -> None:
        self.now = 1_000.0
        super().__init__(home, lambda: size, environment={}, clock=lambda: self.now)
        self.started: list[subprocess.Popen[bytes]] = []

    def _start(self) -> subprocess.Popen[bytes]:
        self.started.append(
            subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        )
        return self.started[-1]

    def after(self, seconds: float) -> int:
        """How many drivers were started once that time is over."""
        self.tend()
        self.now += seconds
        self.tend()
        return len(self.started)

    def waits(self, driver: subprocess.Popen[bytes]) -> None:
        post = self._home.driver_posts / f"{driver.pid}-{start_ticks(driver.pid)}.sock"
        post.touch()
        self.tend()

    def takes_an_attempt(self, driver: subprocess.Popen[bytes]) -> None:
        next(self._home.driver_posts.glob(f"{driver.pid}-*")).unlink()


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path)
    home.driver_posts.mkdir(parents=True)
    return home


@pytest.fixture
def pool(home):
    pools = []

    def make(size: int) -> Pool:
        pools.append(Pool(home, size))
        return pools[-1]

    yield make
    for each in pools:
        for driver in each.started:
            driver.kill()
            driver.communicate()


def test_one_is_started_and_no_second_while_it_comes(pool):
    kept = pool(1)
    assert kept.after(PAUSE_S) == 1
    assert kept.after(100) == 1


def test_one_that_was_taken_is_followed_by_another_after_a_pause(pool):
    kept = pool(1)
    kept.after(PAUSE_S)
    kept.waits(kept.started[0])
    assert kept.after(100) == 1
    kept.takes_an_attempt(kept.started[0])
    assert kept.after(PAUSE_S / 2) == 1
    assert kept.after(PAUSE_S) == 2


def test_those_that_an_earlier_keeper_started_count(pool):
    first = pool(1)
    first.after(PAUSE_S)
    first.waits(first.started[0])
    assert pool(1).after(100) == 0


def test_one_that_never_comes_is_not_started_all_the_time(pool):
    kept = pool(1)
    kept.after(PAUSE_S)
    kept.started[0].kill()
    kept.started[0].wait()
    assert kept.after(PAUSE_S) == 1
    assert kept.after(TRY_AGAIN_S) == 2


def test_none_are_kept_where_none_are_wanted(pool):
    assert pool(0).after(100) == 0


def test_a_machine_that_can_start_nothing_now_is_asked_again_later(pool, monkeypatch):
    drivers = pool(1)
    start = drivers._start

    def fail():
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(drivers, "_start", fail)
    for _ in range(2):
        drivers.look()
        drivers.now += PAUSE_S
    monkeypatch.setattr(drivers, "_start", start)
    drivers.look()
    assert drivers.started == [], "not at once"
    drivers.now += TRY_AGAIN_S
    drivers.look()
    assert len(drivers.started) == 1
