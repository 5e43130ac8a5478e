"""Talk to DataHarbour's REST API from the command line: address, token, errors, event streams.

Imports nothing heavy: the HTTP library is loaded when a call is made.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataharbour.errors import (
    ConfigError,
    DataHarbourError,
    Forbidden,
    LimitReached,
    NotAuthenticated,
    NotFound,
    PlatformError,
    Unavailable,
)

if TYPE_CHECKING:
    import httpx

RETRIES_S = (0.5, 1.0, 2.0, 4.0, *([5.0] * 10))  # waits before a request is sent again
RECONNECT_FOR_S = 60.0  # how long an event stream may bring nothing
RECONNECT_AFTER_S = 1.0


class ApiProblem(DataHarbourError):
    """The request is wrong, or the server failed."""

    code = "api"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event."""

    name: str
    data: Any


@dataclass(frozen=True, slots=True)
class Client:
    """The API at one address.

    Attributes:
        url: of the mount, e.g. ``http://127.0.0.1:8080/dataharbour``.
        token: bearer token.
    """

    url: str
    token: str = field(repr=False)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON at a path below ``/api/v1``; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._send("GET", path, params=given).json()

    def items(self, path: str, *, limit: int | None = None, **params: Any) -> Iterator[Any]:
        """The items of a list, page after page, at most `limit`."""
        left, cursor = limit, None
        while True:
            page = self.get(path, cursor=cursor, limit=min(left or 1000, 1000), **params)
            yield from page["items"]
            cursor = page["next"]
            left = None if left is None else left - len(page["items"])
            if cursor is None or left == 0 or not page["items"]:
                return

    def log_lines(self, path: str) -> Iterator[Any]:
        """The lines that a log has by now."""
        cursor = None
        while True:
            page = self.get(path, cursor=cursor)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None or not page["items"]:
                return

    def put(self, path: str, content: bytes, *, kind: str, etag: str | None) -> Any:
        """PUT a document; only over the version with this ETag, or (None) where there is none."""
        condition = {"If-Match": etag} if etag else {"If-None-Match": "*"}
        headers = {"Content-Type": kind, **condition}
        return self._send("PUT", path, content=content, headers=headers).json()

    def delete(self, path: str, *, etag: str) -> None:
        """DELETE what has this ETag."""
        self._send("DELETE", path, headers={"If-Match": etag})

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST a change; the JSON of the answer. Values that are None are left out."""
        given = {name: value for name, value in body.items() if value is not None}
        return self._send("POST", path, json=given).json()

    def start(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        key: str,
        on_wait: Callable[[Unavailable], None] = lambda _: None,
    ) -> Any:
        """POST what starts a run; sent again with the same key while the server is away.

        Args:
            path: below ``/api/v1``.
            body: of the request.
            key: its Idempotency-Key.
            on_wait: told why each time that it will be sent again.
        """
        headers = {"Idempotency-Key": key}
        for wait_s in RETRIES_S:
            try:
                return self._send("POST", path, json=dict(body), headers=headers).json()
            except Unavailable as why:
                on_wait(why)
                time.sleep(wait_s)
        return self._send("POST", path, json=dict(body), headers=headers).json()

    def watch(self, run_id: str, *, timeout_s: float) -> Iterator[Any]:
        """The run about every second, until it has ended or the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            run = self.get(f"runs/{run_id}", wait=1)
            yield run
            if run["ended_at"] or time.monotonic() > deadline:
                return

    def events(self, path: str) -> Iterator[ServerEvent]:
        """The events of a stream until its event `end`; connects again where it was.

        Raises:
            Unavailable: there was no event for a minute, however often it connected.
        """
        position: list[str] = []  # id of the newest event
        give_up = time.monotonic() + RECONNECT_FOR_S
        while True:
            failure = Unavailable(f"{self.url} ends its event streams early.", "Try again later.")
            has_news = False
            try:
                for event in self._stream(path, position):
                    yield event
                    if event.name == "end":
                        return
                    has_news = True
            except Unavailable as error:
                failure = error
            if has_news:  # counted from here: a stream may be quiet for as long as it lasts
                give_up = time.monotonic() + RECONNECT_FOR_S
            elif time.monotonic() > give_up:
                raise failure
            time.sleep(RECONNECT_AFTER_S)

    def _stream(self, path: str, position: list[str]) -> Iterator[ServerEvent]:
        headers = {"Accept": "text/event-stream"}
        if position:
            headers["Last-Event-ID"] = position[-1]
        with (
            _translated(self.url),
            self._http() as http,
            http.stream("GET", f"/api/v1/{path}", headers=headers) as answer,
        ):
            if answer.is_error:
                answer.read()
                raise _problem(answer)
            if answer.status_code == 204:
                yield ServerEvent("end", {})
                return
            yield from _parse(answer.iter_lines(), position)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        with _translated(self.url), self._http() as http:
            answer = http.request(method, f"/api/v1/{path}", **options)
            if answer.is_error:
                raise _problem(answer)
            return answer

    def _http(self) -> httpx.Client:
        import httpx

        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.token}", "User-Agent": "harbour"},
            timeout=httpx.Timeout(70, connect=5),  # a `wait` takes up to 60 s
            trust_env=httpx.URL(self.url).host not in {"127.0.0.1", "localhost", "::1"},
        )


def load_client(environ: Mapping[str, str] = os.environ) -> Client:
    """The platform to talk to: DATAHARBOUR_URL and DATAHARBOUR_TOKEN, else the one that runs here.

    Raises:
        ConfigError: neither is there.
        Unavailable: the platform of this checkout does not run.
    """
    url, token = environ.get("DATAHARBOUR_URL"), environ.get("DATAHARBOUR_TOKEN")
    if url and token:
        return Client(url.rstrip("/"), token)
    if url or token:
        missing = "DATAHARBOUR_TOKEN" if url else "DATAHARBOUR_URL"
        raise ConfigError(
            f"{missing} is not set, its companion is.",
            'Set both or none; for the platform of this checkout: eval "$(./harbour env)".',
        )
    from dataharbour.platform.environment import environment
    from dataharbour.platform.layout import find_checkout, find_home

    try:
        home = find_home(find_checkout(), environ)
    except PlatformError as error:
        raise ConfigError(
            "DATAHARBOUR_URL and DATAHARBOUR_TOKEN are not set.",
            "Set the address (it ends in /dataharbour) and a token from POST /auth/token.",
        ) from error
    known = environment(home)  # signs in, so the token is always fresh
    return Client(known["DATAHARBOUR_URL"], known["DATAHARBOUR_TOKEN"])


@contextmanager
def _translated(url: str) -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.InvalidURL as error:
        raise ApiProblem(f"{url} is no address: {error}.", "Set DATAHARBOUR_URL.") from error
    except httpx.HTTPError as error:
        raise Unavailable(
            f"{url} does not answer ({str(error) or type(error).__name__}).",
            "Is the platform up? harbour status tells, harbour up starts it.",
        ) from error


_ERRORS: dict[int, type[DataHarbourError]] = {
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    429: LimitReached,
    502: Unavailable,
    503: Unavailable,
}


def _problem(answer: httpx.Response) -> DataHarbourError:
    """An answer with an error status, in words."""
    kind = _ERRORS.get(answer.status_code, ApiProblem)
    try:
        problem = answer.json()
        return kind(_described(problem), problem["remedy"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return kind(
            f"{answer.request.url} answered {answer.status_code}, and not in DataHarbour's way.",
            "Does the address end in /dataharbour, and is the plugin loaded?",
        )


def _described(problem: Mapping[str, Any]) -> str:
    further = [
        f"\n  {error.get('pointer') or error.get('parameter') or 'body'}: {error['detail']}"
        for error in problem.get("errors", [])
    ]
    return str(problem["detail"]) + ("".join(further) if len(further) > 1 else "")


def _parse(lines: Iterator[str], position: list[str]) -> Iterator[ServerEvent]:
    """Events of a text/event-stream; notes the newest id in `position`.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    name, data, event_id = "message", "", ""
    for line in lines:
        if not line:
            if event_id:
                position[:] = [event_id]
            if data:
                yield ServerEvent(name, json.loads(data))
            name, data, event_id = "message", "", ""
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            name = value
        elif key == "data":
            data += value
        elif key == "id":
            event_id = value
