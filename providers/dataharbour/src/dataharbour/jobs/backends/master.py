"""Talk to a standalone master: submit, ask and kill drivers over its REST gateway, read its page.

A small client of its own: Spark's is a JVM, and knows neither Python in cluster mode nor a
signed request. Of several masters (high availability) the first that is the leader answers.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.jobs.backends.http import ask, connection_to

TOKEN_S = 60  # how long a signed request is good for
TIMEOUT_S = 10.0
_PEEK_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class ClusterEndpoint:
    """A standalone cluster.

    Attributes:
        master: ``spark://HOST:PORT``, several hosts separated by commas.
        rest_urls: the REST gateways of those masters.
        ui_url: the master's page, or None where it is not known.
        history_url: the history server, or None where there is none; it takes the same key.
        key: what requests are signed with (base64url), or nothing for an open gateway.
        driver_file: the driver's entry point, where the workers find it; None: as on this machine.
    """

    master: str
    rest_urls: tuple[str, ...]
    ui_url: str | None = None
    history_url: str | None = None
    key: str = field(default="", repr=False)
    driver_file: str | None = None


class Unanswered(Unavailable):
    """The master may have done what it was asked for: its answer did not arrive."""


class Master:
    """The leader of a standalone cluster.

    Args:
        endpoint: where it is.
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

    def create(self, body: Mapping[str, Any]) -> str:
        """Submit a driver; its submission id.

        Raises:
            Unanswered: it may have been taken.
            Unavailable: no master took it.
            ConfigError: the master does not take our key, or not this driver.
        """
        answer = self._ask_leader("POST", "/v1/submissions/create", body)
        submission = answer.get("submissionId")
        if not isinstance(submission, str):
            raise ConfigError(
                f"The Spark master took no driver: {_said(answer)}.", "See the master's log."
            )
        return submission

    def state(self, submission_id: str) -> str | None:
        """The state of a driver as the master calls it; None for one that it does not know.

        Raises:
            Unavailable: no master answers.
        """
        answer = self._ask_leader("GET", f"/v1/submissions/status/{submission_id}")
        state = answer.get("driverState")
        return state if isinstance(state, str) else None

    def kill(self, submission_id: str) -> None:
        """Ask for the end of a driver; `state` tells whether it came.

        Raises:
            Unavailable: no master answers.
        """
        self._ask_leader("POST", f"/v1/submissions/kill/{submission_id}")

    def page(self) -> dict[str, Any]:
        """What the master's page says, as JSON.

        Raises:
            Unavailable: it does not answer.
            ConfigError: its address is not known, or it does not take our key.
        """
        if not self._endpoint.ui_url:
            raise ConfigError(
                "The address of the Spark master's page is not known.",
                "Set the extra `ui_url` of the connection to it.",
            )
        return self._ask(self._endpoint.ui_url.rstrip("/"), "GET", "/json/")

    def page_for_people(self) -> str | None:
        """Address of the master's page, if that answers without a signed request."""
        url = self._endpoint.ui_url
        if not url:
            return None
        with closing(connection_to(url, timeout_s=_PEEK_TIMEOUT_S)) as connection:
            try:
                return url if ask(connection, f"{url.rstrip('/')}/")[0] == 200 else None
            except (OSError, HTTPException):
                return None

    def _ask_leader(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        problems = []
        for url in self._endpoint.rest_urls:
            try:
                answer = self._ask(url, method, path, body)
            except Unanswered:
                raise
            except Unavailable as error:
                problems.append(error.problem)
                continue
            if "STANDBY" in _said(answer) or "RECOVERING" in _said(answer):
                problems.append(f"{url} is no leader: {_said(answer)}")
                continue
            return answer
        raise Unavailable(
            f"No Spark master answers: {'; '.join(problems)}.",
            "Is the cluster up (harbour status)? Is the connection dataharbour_spark right?",
        )

    def _ask(
        self, url: str, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        with closing(connection_to(url, timeout_s=self._timeout_s)) as connection:
            try:
                connection.connect()
            except OSError as error:
                raise Unavailable(f"{url}: {error}", "Start the master.") from None
            content = None if body is None else json.dumps(body)
            try:
                status, text = ask(
                    connection, url + path, method=method, body=content, headers=self._headers()
                )
            except (OSError, HTTPException) as error:
                raise Unanswered(
                    f"{url} took the request and did not answer: {type(error).__name__} {error}",
                    "The task will try again.",
                ) from None
        return _read(url, status, text)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json;charset=UTF-8"}
        if self._endpoint.key:
            token = sign(self._endpoint.key, until=int(self._clock()) + TOKEN_S)
            headers["Authorization"] = f"Bearer {token}"
        return headers


def sign(key: str, *, until: int) -> str:
    """A JSON Web Token (HS256) as Spark's JWSFilter wants it.

    Args:
        key: base64url of at least 32 bytes.
        until: seconds since the epoch.

    Source: RFC 7519; org.apache.spark.ui.JWSFilter.
    """
    claims = {"sub": "dataharbour", "exp": until}
    signed = ".".join(_url64(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
    secret = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
    return f"{signed}.{_url64(hmac.digest(secret, signed.encode(), 'sha256'))}"


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _read(url: str, status: int, text: bytes) -> dict[str, Any]:
    if status in (401, 403):
        raise ConfigError(
            f"The Spark master at {url} does not take our key.",
            "Set the password of the connection dataharbour_spark to the secretKey of its "
            "JWSFilter; the clocks of both machines must agree.",
        )
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Unavailable(
            f"{url} answers {status}, and no JSON: it is no Spark master's address",
            "Set the extra rest_url of the connection dataharbour_spark.",
        )
    return answer


def _said(answer: Mapping[str, Any]) -> str:
    return str(answer.get("message", "")).strip().rstrip(".").replace("\n", " ")[:500]
