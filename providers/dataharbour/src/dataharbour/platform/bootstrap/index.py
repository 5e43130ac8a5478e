"""Fetch files from a package index or a folder, with the standard library alone.

Speaks the simple API in both its forms (JSON and HTML). A download that broke off goes on where it
stopped, and counts only when its sha256 is one of the lock's.

Source: https://packaging.python.org/en/latest/specifications/simple-repository-api/
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import http.client
import json
import netrc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import (
    HTTPSHandler,
    ProxyHandler,
    Request,
    build_opener,
    getproxies,
    url2pathname,
)

from dataharbour.errors import PlatformError
from dataharbour.platform.bootstrap.sources import Sources
from dataharbour.platform.bootstrap.tls import tls_context, unchecked_context

_JSON = "application/vnd.pypi.simple.v1+json"
_ACCEPT = f"{_JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_ATTEMPTS = 5  # without a byte of progress in between
_CHUNK_BYTES = 1 << 18
_FAILURES = (URLError, OSError, http.client.HTTPException)

Report = Callable[[int, int], None]  # bytes done, bytes in all


class Link(NamedTuple):
    """A file that an index offers."""

    name: str
    url: str


class PackageIndex:
    """The configured indexes and folders, seen as one.

    Args:
        sources: where to look.
        sleep: waits between two attempts, in seconds.
    """

    def __init__(self, sources: Sources, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sources = sources
        self._sleep = sleep
        self._credentials: dict[str, str] = {}  # host -> user:password
        proxies = _proxies(sources)
        checked, unchecked = tls_context(sources), unchecked_context()
        self._checked = build_opener(ProxyHandler(proxies), HTTPSHandler(context=checked))
        self._unchecked = build_opener(ProxyHandler(proxies), HTTPSHandler(context=unchecked))

    def links(self, project: str) -> Iterator[Link]:
        """Every file of `project`; what is nearest first.

        Raises:
            PlatformError: an index that had to be asked did not answer.
        """
        for place in self._sources.find_links:
            yield from self._find_links(place)
        for index in self._sources.indexes:
            yield from self._page(f"{index.rstrip('/')}/{project}/")

    def download(self, link: Link, target: Path, *, sha256: frozenset[str], report: Report) -> None:
        """Fetch `link` to `target`, unless the right file is there already.

        Two processes that want the same file take turns. An interrupted download leaves
        ``<target>.part`` and goes on from there the next time.

        Raises:
            PlatformError: the server does not answer, or the content is not what the lock says.
        """
        part = target.with_name(f"{target.name}.part")
        with _open_alone(part) as stream:
            if is_right(target, sha256):  # another process was quicker
                part.unlink()
                return
            is_continued = stream.tell() > 0
            self._fetch(link, stream, report)
            if is_continued and _sha256(part) not in sha256:  # the server's file is another by now
                _empty(stream)
                self._fetch(link, stream, report)
            digest = _sha256(part)
            if digest not in sha256:
                part.unlink()
                raise PlatformError(
                    f"{_public(link.url)} has the sha256 {digest}, which requirements.txt does not "
                    "list: the file was changed on its way, or the index offers another one.",
                    "Check the package index (PIP_INDEX_URL, pip.conf) and any proxy in between.",
                )
            os.fsync(stream)
            part.rename(target)

    def _fetch(self, link: Link, stream: IO[bytes], report: Report) -> None:
        """Append to `stream` until the file is whole; each attempt goes on where the last ended."""
        attempt = 0
        while True:
            before = stream.tell()
            try:
                return self._append(link, stream, report)
            except _FAILURES as error:
                attempt = attempt + 1 if stream.tell() == before else 1
                if attempt >= _ATTEMPTS or not _may_pass(error):
                    raise _unreachable(link.url, error) from error
                self._sleep(2 ** (attempt - 1) / 2)

    def _append(self, link: Link, stream: IO[bytes], report: Report) -> None:
        done = stream.tell()
        headers = {"Range": f"bytes={done}-"} if done else {}
        try:
            response = self._open(link.url, headers)
        except HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and done:
                return  # the whole file was there; its hash will tell
            raise
        with response:
            if done and response.status != http.HTTPStatus.PARTIAL_CONTENT:
                _empty(stream)  # the server cannot go on in the middle
                done = 0
            length = response.headers.get("Content-Length")
            total = done + int(length) if length else 0
            while chunk := response.read(_CHUNK_BYTES):
                _write(stream, chunk)
                done += len(chunk)
                report(done, total)
            if done < total:
                raise http.client.IncompleteRead(b"", total - done)

    def _page(self, url: str) -> Iterator[Link]:
        """The links of one page of an index; none where the index does not know the project."""
        for attempt in range(_ATTEMPTS):
            try:
                with self._open(url, {"Accept": _ACCEPT}) as response:
                    kind, base = response.headers.get_content_type(), response.geturl()
                    content = response.read()
                break
            except _FAILURES as error:
                if _is_missing(error):
                    return
                if attempt == _ATTEMPTS - 1 or not _may_pass(error):
                    raise _unreachable(url, error) from error
                self._sleep(2**attempt / 4)
        yield from _links(content, kind, base)

    def _find_links(self, place: str) -> Iterator[Link]:
        folder = _local(place)
        if folder is not None and folder.is_dir():
            for path in sorted(folder.iterdir()):
                yield Link(path.name, path.as_uri())
        elif folder is None or folder.exists():
            yield from self._page(folder.as_uri() if folder else place)

    def _open(self, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        local = _local(url)
        if local is not None and local.is_dir():
            url = f"{url.rstrip('/')}/index.html"
        bare, host = self._without_credentials(url)
        request = Request(bare, headers=headers)  # file:// is wanted too
        credentials = self._credentials.get(host) or _netrc(urlsplit(bare).hostname)
        if credentials:  # "unredirected": another host never sees them
            encoded = base64.b64encode(credentials.encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {encoded}")
        trusted = {host, urlsplit(bare).hostname} & set(self._sources.trusted_hosts)
        opener = self._unchecked if trusted else self._checked
        try:
            response: http.client.HTTPResponse = opener.open(
                request, timeout=self._sources.timeout_s
            )
        except HTTPError as error:
            error.close()  # it holds the connection
            raise
        return response

    def _without_credentials(self, url: str) -> tuple[str, str]:
        """Split ``user:password@`` off, and remember it for the other URLs of that host."""
        parts = urlsplit(url)
        credentials, _, host = parts.netloc.rpartition("@")
        if credentials:
            self._credentials[host] = unquote(credentials)
        return urlunsplit(parts._replace(netloc=host)), host


def is_right(path: Path, sha256: frozenset[str]) -> bool:
    """Whether the file is there and is the lock's."""
    return path.exists() and _sha256(path) in sha256


def _links(content: bytes, kind: str, base: str) -> Iterator[Link]:
    if kind == _JSON:
        for file in json.loads(content)["files"]:
            yield Link(file["filename"], urljoin(base, file["url"]))
        return
    page = _Anchors(base)
    page.feed(content.decode(errors="replace"))
    for url in page.urls:
        yield Link(unquote(urlsplit(url).path.rsplit("/", 1)[-1]), url)


class _Anchors(HTMLParser):
    """Collects where the links of a page lead to."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "base" and href:
            self.base = urljoin(self.base, href)
        elif tag == "a" and href:
            self.urls.append(urldefrag(urljoin(self.base, href)).url)


def _proxies(sources: Sources) -> dict[str, str]:
    """The proxy of pip's options, else the environment's; also ALL_PROXY, unknown to urllib."""
    if sources.proxy:
        return {"http": sources.proxy, "https": sources.proxy}
    proxies = getproxies()
    if "all" in proxies:
        proxies = dict.fromkeys(("http", "https"), proxies["all"]) | proxies
    return proxies


def _netrc(host: str | None) -> str | None:
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return f"{found[0]}:{found[2]}" if found else None


def _local(url: str) -> Path | None:
    """The path of a file URL or a plain path; None for what lies elsewhere."""
    if "://" not in url:
        return Path(url)
    parts = urlsplit(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _is_missing(error: Exception) -> bool:
    if isinstance(error, HTTPError):
        return error.code in (404, 410)
    return isinstance(getattr(error, "reason", None), FileNotFoundError)


def _may_pass(error: Exception) -> bool:
    """Whether the same request may work later."""
    return not isinstance(error, HTTPError) or error.code in (408, 425, 429, 500, 502, 503, 504)


def _unreachable(url: str, error: Exception) -> PlatformError:
    reason = getattr(error, "reason", None) or error
    problem = f"The package index did not give {_public(url)}: {reason}"
    if isinstance(error, HTTPError) and error.code in (401, 403):
        return PlatformError(
            f"{problem} ({error.code})",
            "Give user and password in the index's URL (PIP_INDEX_URL, pip.conf) or in ~/.netrc.",
        )
    return PlatformError(
        problem,
        "Check the network. Behind a proxy: HTTPS_PROXY=http://host:port. A mirror: PIP_INDEX_URL "
        "or pip.conf. A certificate authority of one's own: PIP_CERT=/path/to/ca.pem.",
    )


def _public(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def _open_alone(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for appending while nobody else does."""
    while True:
        with path.open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            # Whoever had it before may have renamed or removed it meanwhile.
            if path.exists() and os.path.samestat(path.stat(), os.fstat(stream.fileno())):
                yield stream
                return


def _write(stream: IO[bytes], chunk: bytes) -> None:
    try:
        stream.write(chunk)
        stream.flush()
    except OSError as error:  # not the server's fault: no use in asking again
        raise PlatformError(
            f"{stream.name} cannot be written: {error.strerror}.", "Free some space on that disk."
        ) from error


def _empty(stream: IO[bytes]) -> None:
    stream.seek(0)
    stream.truncate()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
