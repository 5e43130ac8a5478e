"""Run a program whose output or input is a stream, and say in its own words why it failed."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from dataharbour.errors import Unavailable

_TOLD_LINES = 5


@dataclass(frozen=True, slots=True)
class Program:
    """A program that runs."""

    process: subprocess.Popen[bytes]
    messages: IO[bytes]

    @property
    def output(self) -> BinaryIO:
        """What it writes, to be read."""
        return cast("BinaryIO", self.process.stdout)

    @property
    def input(self) -> BinaryIO:
        """What it reads, to be written; closed before `finish`."""
        return cast("BinaryIO", self.process.stdin)

    def finish(self) -> None:
        """Wait until it has ended.

        Raises:
            Unavailable: not well; its last words are in it.
        """
        if self.process.wait():
            raise self.failed(f"it ended with exit code {self.process.returncode}")

    def failed(self, why: str) -> Unavailable:
        """The error of a program that did not do what it should."""
        self.messages.seek(0)
        lines = self.messages.read().decode(errors="replace").strip().splitlines()
        words = " / ".join(lines[-_TOLD_LINES:])
        name = Path(str(cast("list[str]", self.process.args)[0])).name
        return Unavailable(f"{name}: {words or why}.", "Its own log, or its server's, says more.")


@contextmanager
def running(
    command: Sequence[str], *, environment: Mapping[str, str], writes: bool
) -> Iterator[Program]:
    """A program for as long as the context lasts; it is killed when that ends before it does.

    Args:
        command: no secret is in it.
        environment: all of it.
        writes: it writes what we read; else it reads what we write.
    """
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL if writes else subprocess.PIPE,
            stdout=subprocess.PIPE if writes else subprocess.DEVNULL,
            stderr=messages,
        ) as process,
    ):
        try:
            yield Program(process, messages)
        finally:
            process.kill()
