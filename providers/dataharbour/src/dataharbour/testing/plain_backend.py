"""A backend that runs applications by plain Python: real drivers, no Spark, no JVM."""

from __future__ import annotations

import sys

from dataharbour.jobs.backends.launch import LaunchContext
from dataharbour.jobs.backends.start import (
    attempt_folder,
    child_arguments,
    child_environment,
    driver_is_alive,
    start_driver,
)


class PlainBackend:
    """Starts the real driver bootstrap; put it in the place of another in `BACKENDS`."""

    name = "plain"

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
