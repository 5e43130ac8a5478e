"""Fetch the jars of `include/spark/jars.lock`, each checked against its sha256.

Looks into the machine's local Maven repository first; then asks the mirror that Maven is configured
for, else Maven Central. A file appears under its name only when it is whole and right.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.platform.maven import Repository, repository

TIMEOUT_S = 20.0
_ATTEMPTS = 3
_CHUNK_BYTES = 1 << 16


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
        """File name."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Where a Maven repository has it."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.name}"


def read_lock(text: str) -> list[Jar]:
    """The jars of a lock file.

    Raises:
        ConfigError: a line is not `group:artifact:version sha256 bytes`.
    """
    jars = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            coordinates, sha256, size_bytes = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(Jar(group, artifact, version, sha256, int(size_bytes)))
        except ValueError as error:
            raise ConfigError(
                f"Line {number} of the jar lock cannot be read: {line!r}.",
                "Write: group:artifact:version sha256 bytes.",
            ) from error
    return jars


def ensure(
    jars: Iterable[Jar],
    folder: Path,
    *,
    on_progress: Callable[[str], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Bring `folder` to hold exactly `jars`, readable by everybody.

    Raises:
        Unavailable: a jar is missing and no repository gives it.
    """
    wanted = list(jars)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    for stray in {p for p in folder.iterdir() if p.name not in {j.name for j in wanted}}:
        stray.unlink()
    missing = [jar for jar in wanted if not _is_whole(folder / jar.name, jar)]
    if not missing:
        return
    progress = _Progress(sum(jar.size_bytes for jar in missing), on_progress)
    source = repository(environ)
    _fetch(missing.pop(), folder, source, progress)  # where nothing can be reached, ask only once
    with ThreadPoolExecutor(max_workers=4) as pool:
        jobs = [pool.submit(_fetch, jar, folder, source, progress) for jar in missing]
    for job in jobs:
        job.result()


class _Progress:
    """Counts bytes of several threads and tells of them."""

    def __init__(self, total_bytes: int, tell: Callable[[str], None]) -> None:
        self._total, self._done, self._tell, self._lock = total_bytes, 0, tell, Lock()

    def add(self, size_bytes: int) -> None:
        with self._lock:
            self._done += size_bytes
            self._tell(
                f"fetching Spark's S3 jars: {self._done / 1e6:.1f} of {self._total / 1e6:.1f} MB"
            )


def _is_whole(file: Path, jar: Jar) -> bool:
    if not file.is_file() or file.stat().st_size != jar.size_bytes:
        return False
    return hashlib.sha256(file.read_bytes()).hexdigest() == jar.sha256


def _fetch(jar: Jar, folder: Path, source: Repository, progress: _Progress) -> None:
    target = folder / jar.name
    local = source.local / jar.path
    draft = folder / f".{jar.name}.part"
    if _is_whole(local, jar):
        shutil.copyfile(local, draft)
        progress.add(jar.size_bytes)
    else:
        _download(jar, draft, source, progress)
    if not _is_whole(draft, jar):
        draft.unlink(missing_ok=True)
        raise Unavailable(
            f"{source.url}/{jar.path} is not the file of the lock (its sha256 differs).",
            "Check the Maven mirror; nothing of it was kept.",
        )
    draft.chmod(0o644)
    draft.replace(target)


def _download(jar: Jar, draft: Path, source: Repository, progress: _Progress) -> None:
    url = f"{source.url}/{jar.path}"
    for attempt in range(1, _ATTEMPTS + 1):
        have = draft.stat().st_size if draft.exists() else 0
        headers = {**source.headers, **({"Range": f"bytes={have}-"} if have else {})}
        try:
            request = urllib.request.Request(url, headers=headers)
            with _opener(source).open(request, timeout=TIMEOUT_S) as answer:
                is_rest = answer.status == 206
                with draft.open("ab" if is_rest else "wb") as stream:
                    while chunk := answer.read(_CHUNK_BYTES):
                        stream.write(chunk)
                        progress.add(len(chunk))
            if draft.stat().st_size >= jar.size_bytes:
                return
        except urllib.error.HTTPError as error:
            if error.code == 416 or error.code < 500:
                draft.unlink(missing_ok=True)
            if error.code in (401, 403, 404) or attempt == _ATTEMPTS:
                raise _unreachable(url, f"HTTP {error.code}") from error
        except (urllib.error.URLError, OSError) as error:
            if attempt == _ATTEMPTS or not draft.exists():
                raise _unreachable(url, str(getattr(error, "reason", error))) from error
    raise _unreachable(url, "the download broke off each time")


def _opener(source: Repository) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context(cafile=source.ca_file)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if source.proxies is not None:
        handlers.append(urllib.request.ProxyHandler(dict(source.proxies)))
    return urllib.request.build_opener(*handlers)


def _unreachable(url: str, reason: str) -> Unavailable:
    return Unavailable(
        f"Spark's S3 jars cannot be fetched: {url}: {reason}.",
        "Allow the Maven repository, or name a mirror in ~/.m2/settings.xml; then ./harbour up.",
    )
