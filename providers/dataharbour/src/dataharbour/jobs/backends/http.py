"""Ask a server of Spark over HTTP: one connection for one question, an answer of bounded size."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit

_MAX_ANSWER = 4 * 1024 * 1024


def connection_to(url: str, *, timeout_s: float) -> HTTPConnection:
    """A connection, not opened yet, to the host of a URL; `timeout_s` is for each step."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=timeout_s)


def ask(
    connection: HTTPConnection,
    url: str,
    *,
    method: str = "GET",
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """The status of the answer, and what it says.

    Raises:
        OSError, HTTPException: no answer.
    """
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    connection.request(method, target, body, headers or {})
    response = connection.getresponse()
    return response.status, response.read(_MAX_ANSWER)
