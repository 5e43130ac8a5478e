"""Ask Spark's history server, whose pages want a signed request as the master's do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlsplit

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.jobs.backends.http import connection_to
from dataharbour.jobs.backends.master import TOKEN_S, ClusterEndpoint, sign
from dataharbour.jobs.event_logs import RUN

TIMEOUT_S = 60.0  # the first look at an application reads its whole log
_MAX_ANSWER = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What it answered; names of headers in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class SparkHistory:
    """The history server of a cluster.

    Args:
        endpoint: the cluster.
        timeout_s: for a connection, and for an answer.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        endpoint: ClusterEndpoint,
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._clock = clock

    def get(self, path: str, *, below: str = "") -> Answer:
        """Read an address of it.

        Args:
            path: with the query, quoted, without a slash at its begin.
            below: the path under which the reader reaches it; its links begin with that.

        Raises:
            ConfigError: the cluster has none.
            Unavailable: it does not answer.
        """
        url = self._endpoint.history_url
        if url is None:
            raise ConfigError(
                "The Spark cluster has no history server.",
                "Set the extra `history_url` of the connection dataharbour_spark; "
                "harbour up --cluster starts one and does that.",
            )
        target = f"{urlsplit(url).path.rstrip('/')}/{path}"
        with closing(connection_to(url, timeout_s=self._timeout_s)) as connection:
            try:
                connection.request("GET", target, headers=self._headers(below))
                response = connection.getresponse()
                body = response.read(_MAX_ANSWER)
            except (OSError, HTTPException) as error:
                raise Unavailable(
                    f"Spark's history server at {url} does not answer: "
                    f"{type(error).__name__} {error}".rstrip(),
                    "Is it up (harbour status)? Its log says more.",
                ) from None
        if response.status in (401, 403):
            raise ConfigError(
                f"Spark's history server at {url} does not take our key.",
                "Set the password of the connection dataharbour_spark to the secretKey of its "
                "JWSFilter; the clocks of both machines must agree.",
            )
        if len(body) == _MAX_ANSWER:
            raise Unavailable(f"The answer of {url} is too large to be shown.", "Ask for less.")
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)

    def run_of(self, application: str) -> str | None:
        """The run for which an application was started, as its settings say; None: of none.

        Asked anew each time: what the server shows under an id is what some log says, and a job
        can write logs.

        Args:
            application: its id.

        Raises:
            ConfigError: the cluster has no history server.
            Unavailable: it does not answer.
        """
        answer = self.get(f"api/v1/applications/{application}/environment")
        if answer.status != 200:
            return None
        try:
            settings = dict(json.loads(answer.body)["sparkProperties"])
        except (ValueError, KeyError, TypeError):
            return None
        run = settings.get(RUN)
        return run if isinstance(run, str) else None

    def _headers(self, below: str) -> dict[str, str]:
        headers = {"X-Forwarded-Context": below} if below else {}
        if self._endpoint.key:
            token = sign(self._endpoint.key, until=int(self._clock()) + TOKEN_S)
            headers["Authorization"] = f"Bearer {token}"
        return headers
