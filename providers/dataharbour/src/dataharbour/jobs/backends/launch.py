"""What a backend is given to start a driver, and the protocol it follows.

`submit` returns at once. From then on only the driver reports: it claims the
attempt (RUNNING), and its end is `AttemptState.ended` or `.lapsed`. An attempt
that stays SUBMITTED is one whose driver waits for its turn, or cannot reach the
database. To cancel, call `RunStore.cancel`; the driver hears it at once. `kill` is for
a driver that does not listen, and comes after its fence was moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.jobs.applications import Application
from dataharbour.jobs.backends.names import NAME_LABEL
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.jobs.model import AttemptGrant, RunRequest
from dataharbour.settings import Settings


@dataclass(frozen=True, slots=True)
class ConnectEndpoint:
    """A Spark Connect server.

    Attributes:
        host: ``localhost`` where there is no TLS.
        ui_url: address of the server's own pages, or None where they are not known.
    """

    host: str
    port: int
    token: str = field(repr=False)
    ui_url: str | None = None


@dataclass(frozen=True)
class LaunchContext:
    """Everything that is needed to start one driver.

    Attributes:
        grant: from `RunStore.start_attempt`.
        request: the run's request with its arguments resolved (`placeholders`).
        application: from `resolve_application`, its hash the run's.
        principal: who asked for the run; the user of the Connect session.
        settings: this installation's.
        driver_conninfo: libpq string of the role `harbour_driver`.
        lake: the data bucket.
    """

    grant: AttemptGrant
    request: RunRequest
    application: Application
    principal: str
    settings: Settings
    driver_conninfo: str = field(repr=False)
    lake: LakeEndpoint

    @property
    def application_name(self) -> str:
        """What Spark and its pages call the application."""
        wanted = self.request.labels.get(NAME_LABEL) or self.request.job
        return wanted or self.application.path.stem


@dataclass(frozen=True, slots=True)
class StartedDriver:
    """A driver that somebody started.

    Attributes:
        external_id: what `Backend.submit` answered; None when its caller was killed in between.
        principal: who asked for the run.
    """

    attempt_id: UUID
    external_id: str | None
    principal: str


class NotSubmitted(Unavailable):
    """The place did not answer, and has certainly not started a driver."""


class Backend(Protocol):
    """A place where drivers run; `tests/contract/jobs` says what each must do."""

    @property
    def name(self) -> str:
        """As jobs and requests choose it."""
        ...

    @property
    def claim_within_s(self) -> float:
        """How long a driver may wait for its turn before it counts as never come."""
        ...

    def submit(self, context: LaunchContext) -> str:
        """Start the driver of an attempt and return where it is (`external_id`).

        Called again for one attempt it may start a second driver: only one of them can claim it.

        Raises:
            ConfigError: something that this backend needs is not set.
            NotSubmitted: the place did not answer, and no driver was started.
            Unavailable: the place did not answer; the driver may have been started.
        """
        ...

    def is_alive(self, external_id: str) -> bool | None:
        """Whether that driver still runs; None where this machine cannot tell."""
        ...

    def kill(self, driver: StartedDriver) -> None:
        """End a driver and what it started elsewhere; no error when it is gone already."""
        ...

    def ui_url(self, external_id: str) -> str | None:
        """Address of Spark's own pages on that driver, where it is known when it starts."""
        ...


BackendOf = Callable[[str], Backend]  # by name; raises ConfigError where there is none


def read_driver_conninfo(settings: Settings) -> str:
    """The libpq string that drivers connect with, from its 0600 file.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        return settings.driver_dsn_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"The drivers' database file {settings.driver_dsn_file} cannot be read: "
            f"{error.strerror}.",
            "harbour up writes it; elsewhere set [dataharbour] driver_dsn_file to a file (0600) "
            "with the libpq string of the role harbour_driver.",
        ) from error
