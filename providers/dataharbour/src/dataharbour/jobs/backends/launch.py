"""What a backend is given to start a driver, and the protocol it follows.

How an operator uses it::

    grant = store.start_attempt(run.id, backend=request.backend, now=now)
    output = output_root(settings.lake, grant.attempt_id)
    context = LaunchContext(
        grant=grant,
        request=replace(request, args=resolve_args(
            request.args, lake=settings.lake, output=output, params=request.params)),
        application=resolve_application(request.application, settings.applications),
        principal=run.principal,
        settings=settings,
        driver_conninfo=read_driver_conninfo(settings),
        lake=LakeEndpoint(...),                # connection dataharbour_lake
        connect=ConnectEndpoint(...),          # connection dataharbour_spark_connect
    )
    external_id = get_backend(request.backend).submit(context)
    store.submitted(grant.attempt_id, external_id=external_id, now=now)
    state = store.wait(run.id, timeout_s=20)

`submit` returns at once. From then on only the driver reports: it claims the
attempt (RUNNING), and its end is `AttemptState.ended` or `.lapsed`. An attempt
that stays SUBMITTED is one whose driver cannot reach the database: look at
`is_alive(external_id)` and at ``home/runs/<attempt>/supervisor.log``. To cancel,
call `RunStore.cancel`; the driver hears it at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dataharbour.errors import ConfigError
from dataharbour.jobs.applications import Application
from dataharbour.jobs.model import AttemptGrant, RunRequest
from dataharbour.settings import Settings


@dataclass(frozen=True, slots=True)
class ConnectEndpoint:
    """A Spark Connect server. `host` must be ``localhost`` where there is no TLS."""

    host: str
    port: int
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LakeEndpoint:
    """The data bucket; the fields after `uri` are None for a ``file://`` lake."""

    uri: str
    endpoint_url: str | None = None
    region: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)


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
        connect: the Connect server; None where the backend needs none.
        environment: more variables for the application; never secrets.
    """

    grant: AttemptGrant
    request: RunRequest
    application: Application
    principal: str
    settings: Settings
    driver_conninfo: str = field(repr=False)
    lake: LakeEndpoint
    connect: ConnectEndpoint | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """A place where drivers run."""

    name: str

    def submit(self, context: LaunchContext) -> str:
        """Start the driver of an attempt and return where it is (`external_id`).

        Raises:
            ConfigError: the context lacks something that this backend needs.
        """
        ...

    def is_alive(self, external_id: str) -> bool | None:
        """Whether that driver still runs; None where this machine cannot tell."""
        ...


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
