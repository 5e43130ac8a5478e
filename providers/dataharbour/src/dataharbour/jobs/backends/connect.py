"""The backend `connect`: a plain Python process that talks to a warm Spark Connect server.

The fast lane. All its sessions share one JVM and one operating-system user, and
whoever runs code there can read that server's environment and its host's files.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote
from uuid import UUID

from dataharbour.jobs.backends.launch import ConnectEndpoint, LaunchContext, StartedDriver
from dataharbour.jobs.backends.names import BackendName
from dataharbour.jobs.backends.start import (
    CLAIM_WITHIN_S,
    attempt_folder,
    child_arguments,
    child_environment,
    driver_is_alive,
    kill_driver,
    start_driver,
)
from dataharbour.jobs.conf import check_conf
from dataharbour.jobs.driver.interrupt import interrupt
from dataharbour.jobs.driver.reach import unreachable
from dataharbour.jobs.driver.spec import ConnectSession

PATIENCE_S = 120.0  # a server that hangs is replaced within a minute, on a busy machine in two
_ANSWER_S = 2.0
_ASK_AGAIN_S = 1.0
_ON = "@"  # in the external id, before the server


class ConnectBackend:
    """Runs the application against a Connect server.

    Args:
        endpoint: the server of this moment; asked when it is needed.
        patience_s: how long to wait for a server that answers, or for the one that replaces it.
    """

    name = BackendName.CONNECT
    claim_within_s = CLAIM_WITHIN_S

    def __init__(
        self, endpoint: Callable[[], ConnectEndpoint], *, patience_s: float = PATIENCE_S
    ) -> None:
        self._endpoint = endpoint
        self._patience_s = patience_s
        self._used: dict[str, ConnectEndpoint] = {}

    def submit(self, context: LaunchContext) -> str:
        """See `Backend.submit`."""
        endpoint = self._answering()
        conf = check_conf(context.request.conf, backend=self.name)
        session = session_of(endpoint, context.grant.attempt_id, principal=context.principal)
        place = start_driver(
            context,
            command=[sys.executable, *child_arguments(context, attempt_folder(context))],
            environment=child_environment(context, _environment(endpoint, session, conf)),
            session=session,
            secrets=[endpoint.token],
        )
        external_id = f"{place}{_ON}{endpoint.host}:{endpoint.port}"
        self._used[external_id] = endpoint
        return external_id

    def is_alive(self, external_id: str) -> bool | None:
        """See `Backend.is_alive`."""
        return driver_is_alive(external_id)

    def kill(self, driver: StartedDriver) -> None:
        """See `Backend.kill`. Without its client a query would go on for minutes."""
        if driver.external_id:
            kill_driver(driver.external_id)
        with suppress(Exception):  # the server may be what is down
            endpoint = server_of(driver.external_id, self._endpoint())
            interrupt(session_of(endpoint, driver.attempt_id, principal=driver.principal))

    def ui_url(self, external_id: str) -> str | None:
        """See `Backend.ui_url`."""
        endpoint = self._used.get(external_id)
        return None if endpoint is None else endpoint.ui_url

    def _answering(self) -> ConnectEndpoint:
        """The server of this moment, once it answers; the driver says it when it does not."""
        until = time.monotonic() + self._patience_s
        while True:
            endpoint = self._endpoint()
            gone = unreachable(endpoint.host, endpoint.port, timeout_s=_ANSWER_S)
            if gone is None or time.monotonic() >= until:
                return endpoint
            time.sleep(_ASK_AGAIN_S)


def server_of(external_id: str | None, now: ConnectEndpoint) -> ConnectEndpoint:
    """The server that a driver was started with, which may have been replaced.

    >>> server_of("host:7:8@localhost:15003", ConnectEndpoint("localhost", 15002, "t")).port
    15003
    """
    host, _, port = (external_id or "").partition(_ON)[2].rpartition(":")
    return replace(now, host=host, port=int(port)) if host and port.isdigit() else now


def session_of(endpoint: ConnectEndpoint, attempt_id: UUID, *, principal: str) -> ConnectSession:
    """The session on the server that an attempt has for itself."""
    return ConnectSession(
        host=endpoint.host,
        port=endpoint.port,
        token=endpoint.token,
        session_id=str(attempt_id),
        user_id=principal,
    )


def _environment(
    endpoint: ConnectEndpoint, session: ConnectSession, conf: Mapping[str, str]
) -> dict[str, str]:
    """The variables that make `SparkSession.builder.getOrCreate()` open our session.

    The token has its own variable: in the URL it would stand in errors and logs.
    """
    return {
        "SPARK_REMOTE": f"sc://{endpoint.host}:{endpoint.port}/;"
        f"user_id={quote(session.user_id, safe='')};session_id={session.session_id}",
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": endpoint.token,
        "PYSPARK_REMOTE_INIT_CONF_LEN": "1",
        "PYSPARK_REMOTE_INIT_CONF_0": json.dumps(dict(conf)),
    }
