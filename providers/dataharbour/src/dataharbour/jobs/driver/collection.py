"""Collect the artifacts of an attempt: copies without secrets, where the API reads them.

What the application leaves stays where it is, and nobody is shown it. The executed notebook is
collected while it runs, so that it is there however its driver ends, SIGKILL included; everything
else once, when the application is over and nobody writes any more.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from dataharbour.jobs.driver import artifacts
from dataharbour.jobs.driver.artifacts import Artifact
from dataharbour.jobs.driver.redaction import Redaction

MAX_FILES = 100
MAX_TOTAL_BYTES = 128 * 1024 * 1024
_EVERY_S = 1.0
_REST = 10  # times as long as the last look took: a large notebook takes half a second
_NAMED = 5  # in a message


class Collection:
    """The artifacts of one attempt.

    Args:
        left: the folder in which the application leaves them.
        kept: the folder of their cleaned copies; made when there is one.
        secrets: values that are taken out.
    """

    def __init__(self, left: Path, kept: Path, secrets: Iterable[str]) -> None:
        self._left = left
        self._kept = kept
        self._redact = Redaction(secrets)
        self._seen: Artifact | None = None  # the notebook that was collected last
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="artifacts", daemon=True)

    def start(self) -> None:
        """Begin to follow the executed notebook."""
        self._thread.start()

    def end(self) -> list[str]:
        """Collect what is there now; what is to be said of it.

        What cannot be collected is not shown, or as it was before.
        """
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        said = []
        wanted, beyond = _within_limits(artifacts.listed(self._left))
        for artifact in wanted:
            try:
                if not self._collect(artifact.name):
                    said.append(f"The artifact {artifact.name} is not kept: it has just changed.")
            except OSError as error:
                said.append(f"The artifact {artifact.name} is not kept: {error.strerror}.")
        if strange := artifacts.others(self._left):
            said.append(
                f"Not kept as artifacts: {_some(strange)}. One is a plain file of at most "
                f"{_mib(artifacts.MAX_BYTES)} MiB, with letters, digits and ._- in its name."
            )
        if beyond:
            said.append(
                f"Not kept as artifacts: {_some(beyond)}. "
                f"An attempt may leave {MAX_FILES} with {_mib(MAX_TOTAL_BYTES)} MiB."
            )
        return said

    def _follow(self) -> None:
        pause = _EVERY_S
        while not self._over.wait(pause):
            began = time.monotonic()
            with contextlib.suppress(OSError):  # the end will tell
                self._look_at_notebook()
            pause = max(_EVERY_S, _REST * (time.monotonic() - began))

    def _look_at_notebook(self) -> None:
        now = artifacts.look(self._left, artifacts.NOTEBOOK)
        if now is not None and now != self._seen:
            self._copy(artifacts.NOTEBOOK)
            self._seen = now

    def _collect(self, name: str) -> bool:
        is_kept = self._copy(name)
        if is_kept:
            artifacts.remove(self._left, name)  # there shall not be two of them
        return is_kept

    def _copy(self, name: str) -> bool:
        """Whether there was such a file, of a size that is kept."""
        data = artifacts.read(self._left, name)
        if data is None:
            return False
        self._kept.parent.mkdir(mode=0o700, exist_ok=True)
        artifacts.write(self._kept, name, self._redact(data))
        return True


def _within_limits(found: list[Artifact]) -> tuple[list[Artifact], list[str]]:
    """What an attempt may leave, its notebook first; the names of the others."""
    wanted: list[Artifact] = []
    beyond: list[str] = []
    total = 0
    for artifact in sorted(found, key=lambda each: (each.name != artifacts.NOTEBOOK, each.name)):
        if len(wanted) < MAX_FILES and total + artifact.size_bytes <= MAX_TOTAL_BYTES:
            wanted.append(artifact)
            total += artifact.size_bytes
        else:
            beyond.append(artifact.name)
    return wanted, beyond


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(ascii, names[:_NAMED])) + more


def _mib(size_bytes: int) -> int:
    return size_bytes // 2**20
