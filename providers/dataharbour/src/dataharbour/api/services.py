"""Everything outside that the API talks to, in one value: the only thing tests replace."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends, Request

from dataharbour import clock
from dataharbour.api.access import Access
from dataharbour.api.airflow_rest import AirflowRest
from dataharbour.api.catalog import Catalog, read_catalog
from dataharbour.api.changes import Changes
from dataharbour.api.database import Database
from dataharbour.api.places import Places
from dataharbour.api.problems import NotConfigured
from dataharbour.api.queues import NotAsked, Queues, queues_of
from dataharbour.api.remembered import Remembered
from dataharbour.errors import ConfigError
from dataharbour.jobs.applications import Application, resolve_application
from dataharbour.jobs.backends.master import ClusterEndpoint
from dataharbour.jobs.clusters import Cluster
from dataharbour.jobs.declared import DeclaredJobs, load_jobs
from dataharbour.jobs.definitions import DefinitionStore
from dataharbour.jobs.model import Run
from dataharbour.jobs.queueing import Queue
from dataharbour.jobs.store import RunStore
from dataharbour.settings import Settings

CONNECT_TIMEOUT_S = 0.5


def no_cluster() -> ClusterEndpoint:
    """What there is without a standalone cluster."""
    raise ConfigError("There is no standalone cluster.", "harbour up --cluster starts one.")


def takes_connections(url: str) -> bool:
    """Whether somebody listens at the host and port of a URL."""
    try:
        place = urlsplit(url)
        address = (place.hostname or "", place.port or 80)
        socket.create_connection(address, CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError):  # nobody, or it is no address at all
        return False
    return True


@dataclass(frozen=True)
class Services:
    """The parts behind the routes. To build it does no I/O.

    Attributes:
        access: users and rights.
        database: the database `dataharbour`.
        airflow: Airflow's REST API.
        load_settings: reads the section [dataharbour]; may raise `ConfigError`.
        clusters: asks the Spark servers how they are; takes up to two seconds.
        cluster: where the standalone cluster is; raises `ConfigError` where there is none.
        now: aware UTC.
        queues: what Airflow holds of tasks that wait.
    """

    access: Access
    database: Database
    airflow: AirflowRest
    load_settings: Callable[[], Settings]
    clusters: Callable[[], Sequence[Cluster]] = tuple
    cluster: Callable[[], ClusterEndpoint] = no_cluster
    now: Callable[[], datetime] = clock.now
    queues: Queues = field(default_factory=NotAsked)

    @cached_property
    def runs(self) -> RunStore:
        """The runs."""
        return RunStore(self.database.connection, actor="api")

    @cached_property
    def definitions(self) -> DefinitionStore:
        """The jobs that were stored over REST.

        Raises:
            NotConfigured: an option is missing.
        """
        return DefinitionStore(self.database.connection, self.settings.stored_jobs)

    @cached_property
    def places(self) -> Places:
        """Who waits for news in this process."""
        return Places()

    @cached_property
    def notebooks_answer(self) -> Remembered[bool]:
        """Whether JupyterLab takes connections. Asked at most every 2 s, however many ask."""
        return Remembered(lambda: takes_connections(self.settings.notebooks_url or ""))

    @cached_property
    def changes(self) -> Changes:
        """Who is told of changes of runs."""
        return Changes(self.database.conninfo)

    @cached_property
    def settings(self) -> Settings:
        """The settings, once they could be read.

        Raises:
            NotConfigured: an option is missing.
        """
        try:
            return self.load_settings()
        except ConfigError as error:
            raise NotConfigured(error.problem, error.remedy) from error

    def application(self, name: str) -> Application:
        """The file that a run's application names; raises as `resolve_application` does."""
        settings = self.settings
        return resolve_application(name, settings.applications, notebooks=settings.notebooks)

    def jobs(self) -> DeclaredJobs:
        """The jobs that the YAML files declare at this moment."""
        return load_jobs(*self.settings.job_folders)

    def catalog(self) -> Catalog:
        """The declared jobs, with where each comes from."""
        return read_catalog(self.jobs, self.definitions, self.settings)

    def queues_of(self, *runs: Run) -> dict[UUID, Queue]:
        """Why those of the runs wait that do. Asks databases: never in the loop."""
        return queues_of(self.queues, runs, now=self.now())

    async def close(self) -> None:
        """Give connections back."""
        await self.changes.close()
        await self.airflow.close()
        self.database.close()


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
