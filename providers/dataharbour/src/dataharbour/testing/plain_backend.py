"""A backend that runs applications by plain Python: real drivers, no Spark, no JVM."""

from __future__ import annotations

import sys

from dataharbour.jobs.backends.launch import LaunchContext, StartedDriver
from dataharbour.jobs.backends.start import (
    CLAIM_WITHIN_S,
    attempt_folder,
    child_arguments,
    child_environment,
    driver_is_alive,
    kill_driver,
    start_driver,
)


class PlainBackend:
    """Starts the real driver bootstrap; put it in the place of another in `MAKERS`."""

    name = "plain"

    def __init__(self, *, claim_within_s: float = CLAIM_WITHIN_S) -> None:
        self.claim_within_s = claim_within_s

    def submit(self, context: LaunchContext) -> str:
        """See `Backend.submit`."""
        return start_driver(
            context,
            command=[sys.executable, *child_arguments(context, attempt_folder(context))],
            environment=child_environment(context, {}),
        )

    def is_alive(self, external_id: str) -> bool | None:
        """See `Backend.is_alive`."""
        return driver_is_alive(external_id)

    def kill(self, driver: StartedDriver) -> None:
        """See `Backend.kill`."""
        if driver.external_id:
            kill_driver(driver.external_id)

    def ui_url(self, external_id: str) -> str | None:
        """See `Backend.ui_url`."""
        return None
