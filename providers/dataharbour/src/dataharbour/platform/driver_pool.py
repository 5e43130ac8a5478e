"""Keep drivers ready that have imported Spark's client: a short run need not wait for that."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from dataharbour.jobs.driver.handover import waiting
from dataharbour.platform import launch
from dataharbour.platform.layout import Home

TRY_AGAIN_S = 60.0
PAUSE_S = 0.6  # a run that has just taken one needs the processor for itself, for about that long
_TEND_EVERY_S = 0.5


class DriverPool:
    """Drivers that wait below the state folder.

    Args:
        home: the state folder.
        size: how many shall wait; asked at each look.
        environment: what they are started with.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        home: Home,
        size: Callable[[], int],
        *,
        environment: dict[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home = home
        self._size = size
        self._environment = environment
        self._clock = clock
        self._ours: list[subprocess.Popen[bytes]] = []
        self._came: set[int] = set()  # of ours, those that were seen waiting
        self._short_since: float | None = None
        self._not_before = 0.0

    def tend(self) -> None:
        """Start one that is missing."""
        now = self._clock()
        there = {each.pid for each in waiting(self._home.driver_posts)}
        for driver in [driver for driver in self._ours if driver.poll() is not None]:
            self._ours.remove(driver)
            if driver.pid not in self._came:  # it never came to wait: its log says why
                self._not_before = now + TRY_AGAIN_S
            self._came.discard(driver.pid)
        self._came |= {driver.pid for driver in self._ours} & there
        coming = [driver for driver in self._ours if driver.pid not in self._came]
        if len(there) + len(coming) >= self._size():
            self._short_since = None
            return
        if self._short_since is None:
            self._short_since = now
        if now >= max(self._short_since + PAUSE_S, self._not_before):
            self._ours.append(self._start())

    def run(self) -> None:
        """Tend the pool for ever; a machine that can start nothing now is asked again later."""
        while True:
            self.look()
            time.sleep(_TEND_EVERY_S)

    def look(self) -> None:
        """`tend`, and no error of the machine ends the pool."""
        try:
            self.tend()
        except OSError as error:
            self._not_before = self._clock() + TRY_AGAIN_S
            print(f"no driver could be prepared: {error}", flush=True)  # noqa: T201 - the log

    def _start(self) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", "dataharbour.jobs.driver.standby", str(self._home.driver_posts),
        ]  # fmt: skip
        log = self._home.logs / "drivers.log"
        with log.open("ab") as stream:
            return subprocess.Popen(
                command,
                cwd="/",
                env=self._environment | launch.marks(self._home.root, "driver"),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
