"""Download the jars of a lock file, each checked by its sha256. Does I/O.

A jar is complete when it has its own name: an unfinished download lies beside it as `.NAME.part`
and goes on where it stopped, also after the process was killed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx

from dataharbour.errors import ConfigError, PlatformError, Unavailable
from dataharbour.platform.bootstrap.sources import read_sources
from dataharbour.platform.bootstrap.tls import has_system_certificates, tls_context
from dataharbour.platform.maven import Maven, Repository

OnProgress = Callable[[int, int], None]  # bytes done, bytes in all

_AT_ONCE = 4
_TRIES = 4  # of one jar whose download breaks off
_PAUSE_S = 0.3  # before the second try, twice that before the third
_TIMEOUT = httpx.Timeout(20.0, connect=5.0)
_OFFLINE = "Spark needs these jars for s3a://; run ./harbour up again when they can be had."


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def name(self) -> str:
        """Its file name."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Where a repository in Maven's layout keeps it."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.name}"


def read_lock(file: Path) -> tuple[Jar, ...]:
    """The jars of a lock file, in its order.

    Raises:
        ConfigError: a line is not `group:artifact:version  sha256  bytes`.
    """
    jars = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            coordinates, sha256, size = line.split()
            group, artifact, version = coordinates.split(":")
            if len(bytes.fromhex(sha256)) != hashlib.sha256().digest_size:
                raise ValueError("that is no sha256")
            jars.append(Jar(group, artifact, version, sha256, int(size)))
        except ValueError as error:
            raise ConfigError(
                f"{file}, line {number}: {line!r} is no locked jar ({error}).",
                "Write group:artifact:version, the sha256 and the bytes, with spaces between.",
            ) from error
    return tuple(jars)


def missing(jars: Iterable[Jar], folder: Path) -> tuple[Jar, ...]:
    """The jars that `folder` lacks, or holds with another content than the lock says."""
    return tuple(jar for jar in jars if not _is_right(folder / jar.name, jar))


def fetch(
    jars: Iterable[Jar], folder: Path, *, source: Maven, on_progress: OnProgress | None = None
) -> None:
    """Have `jars`, and no others, in `folder`.

    What Maven's own folder has is copied, the rest downloaded.

    Raises:
        Unavailable: the repository cannot be reached, or does not have a jar.
        PlatformError: what the repository sent is not what the lock says.
    """
    locked = tuple(jars)
    wanted = missing(locked, folder)
    folder.mkdir(parents=True, exist_ok=True)
    clear_strays(locked, folder)
    rest = [jar for jar in wanted if not _copy(jar, source.local, folder)]
    if not rest:
        return
    repository = source.repository
    count = _Count(rest, folder, on_progress or (lambda *_: None))
    with (
        _client(repository) as client,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        try:
            tasks = [pool.submit(_download, client, repository, j, folder, count) for j in rest]
            for task in as_completed(tasks):
                task.result()
        finally:  # after a failure, or Ctrl-C: nothing new, and what runs ends at its next piece
            count.stop.set()
            pool.shutdown(cancel_futures=True)


def probe(jar: Jar, source: Maven) -> str:
    """Ask the repository for one jar without fetching it; returns the repository's address.

    Raises:
        Unavailable: it cannot be reached, or does not have the jar.
    """
    with _client(source.repository) as client:
        url = f"{source.repository.url}/{jar.path}"
        try:
            answer = client.head(url)
        except httpx.TransportError as error:
            raise _unreachable(source.repository, error) from error
    if answer.is_error:
        raise _refused(url, answer)
    return source.repository.url


def _client(repository: Repository) -> httpx.Client:
    return httpx.Client(
        auth=repository.login,
        proxy=repository.proxy,  # None: HTTPS_PROXY, HTTP_PROXY and NO_PROXY decide
        verify=_trusted(),
        timeout=_TIMEOUT,
        follow_redirects=True,
    )


class _Count:
    """How much is there, told to one listener by several threads."""

    def __init__(self, jars: list[Jar], folder: Path, tell: OnProgress) -> None:
        self.stop = threading.Event()
        self._total = sum(jar.size_bytes for jar in jars)
        self._done = {jar: _size(_part(folder, jar)) for jar in jars}
        self._tell = tell
        self._lock = threading.Lock()

    def set(self, jar: Jar, done_bytes: int) -> None:
        with self._lock:
            self._done[jar] = done_bytes
            self._tell(sum(self._done.values()), self._total)


class _Stopped(Exception):
    """Another download has failed, so this one need not go on."""


def _download(
    client: httpx.Client, repository: Repository, jar: Jar, folder: Path, count: _Count
) -> None:
    part = _part(folder, jar)
    url = f"{repository.url}/{jar.path}"
    broken: Exception | None = None
    for attempt in range(_TRIES):
        count.stop.wait(attempt * _PAUSE_S)
        before = _size(part)
        try:
            _receive(client, url, jar, part, count)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise _unreachable(repository, error) from error
        except httpx.TransportError as error:
            broken = error
            continue
        except _Stopped:
            return
        if _is_right(part, jar):
            part.chmod(0o644)  # Spark's account reads it, whatever the umask is
            part.replace(folder / jar.name)
            return
        wrong = _describe(part)
        part.unlink(missing_ok=True)
        if not before:  # else the beginning, from another time, may have been the wrong half
            _refuse(url, jar, wrong)
        broken = PlatformError(f"{url} has changed since its download began.", _OFFLINE)
    raise Unavailable(
        f"The download of {url} broke off {_TRIES} times: {broken}.",
        f"It goes on from there at the next try. {_OFFLINE}",
    )


def _receive(client: httpx.Client, url: str, jar: Jar, part: Path, count: _Count) -> None:
    """Add to `part` what is missing of it; start over where the server knows no ranges."""
    have = _size(part)
    if have >= jar.size_bytes:
        part.unlink()
        have = 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            raise httpx.ReadError("the server has no such range")
        if answer.is_server_error:
            raise httpx.ReadError(f"the server answered {answer.status_code}")
        if answer.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            raise _refused(url, answer)
        goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if not (answer.status_code == httpx.codes.PARTIAL_CONTENT and goes_on):
            have = 0
        with part.open("ab" if have else "wb") as stream:
            for piece in answer.iter_raw():
                if count.stop.is_set():
                    raise _Stopped
                stream.write(piece)
                have += len(piece)
                count.set(jar, min(have, jar.size_bytes))
                if have > jar.size_bytes:
                    return  # it cannot become right: no need to fill the disk


def clear_strays(jars: Iterable[Jar], folder: Path) -> None:
    """Delete jars of an earlier lock: two versions of one class are worse than none."""
    ours = {name for jar in jars for name in (jar.name, _part(folder, jar).name)}
    for file in folder.iterdir():
        if file.name not in ours and file.name.endswith((".jar", ".part")):
            file.unlink()


def _copy(jar: Jar, local: Path, folder: Path) -> bool:
    """Take the jar out of Maven's own folder, if it is there and right."""
    found, part = local / jar.path, _part(folder, jar)
    if not _is_right(found, jar):
        return False
    shutil.copyfile(found, part)
    if not _is_right(part, jar):  # changed while it was copied
        part.unlink()
        return False
    part.chmod(0o644)
    part.replace(folder / jar.name)
    return True


def _trusted() -> ssl.SSLContext:
    """Whom pip would trust on this machine, else the certificates that httpx carries."""
    sources = read_sources(os.environ)
    if sources.ca or has_system_certificates():
        return tls_context(sources)
    return httpx.create_ssl_context()


def _unreachable(repository: Repository, error: Exception) -> Unavailable:
    reason = str(error) or type(error).__name__
    return Unavailable(
        f"The Maven repository {repository.url} cannot be reached: {reason}.",
        f"Set a proxy (HTTPS_PROXY) or a mirror (~/.m2/settings.xml). {_OFFLINE}",
    )


def _refused(url: str, answer: httpx.Response) -> Unavailable:
    return Unavailable(
        f"{url} answered {answer.status_code} {answer.reason_phrase}.",
        f"Look at the mirror and the login in ~/.m2/settings.xml. {_OFFLINE}",
    )


def _refuse(url: str, jar: Jar, wrong: str) -> NoReturn:
    raise PlatformError(
        f"{url} sent {wrong}; the lock says {jar.size_bytes} bytes with sha256 {jar.sha256}. "
        "It was deleted.",
        "A proxy or mirror on the way answers with something else (a login page?). "
        "If the jar was changed on purpose, change include/spark/jars.lock.",
    )


def _part(folder: Path, jar: Jar) -> Path:
    return folder / f".{jar.name}.part"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _is_right(file: Path, jar: Jar) -> bool:
    return _size(file) == jar.size_bytes and _sha256(file) == jar.sha256


def _describe(file: Path) -> str:
    return f"{_size(file)} bytes with sha256 {_sha256(file) if file.exists() else '-'}"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
