"""Run uv: read its lines, tell how far it is, end it when we are ended."""

from __future__ import annotations

import selectors
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dataharbour.platform.bootstrap.progress import Progress
from dataharbour.platform.bootstrap.uv_lines import Reading, failure

_STOP_S = 10.0


class Uv:
    """One program of uv with its environment.

    Args:
        program: path of the binary.
        variables: its whole environment.
        folder: the folder it runs in.
        lock: file descriptor that it holds open too, so that an orphan of ours is waited for.
        progress: what tells how far it is.
    """

    def __init__(
        self,
        program: Path,
        variables: dict[str, str],
        *,
        folder: Path,
        lock: int,
        progress: Progress,
    ) -> None:
        self.progress = progress
        self._program = program
        self._variables = variables
        self._folder = folder
        self._lock = lock

    def set(self, name: str, value: str) -> None:
        """Set a variable of uv's environment."""
        self._variables[name] = value

    def default(self, name: str, value: str) -> None:
        """Set a variable that the caller has not set."""
        self._variables.setdefault(name, value)

    def answer(self, *arguments: str) -> str:
        """What a quick command prints; empty when it fails."""
        done = subprocess.run(
            [self._program, *arguments],
            env=self._variables,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def run(self, *arguments: str, expected_bytes: int = 0) -> None:
        """Run a command to its end.

        Args:
            arguments: of the command; never credentials.
            expected_bytes: what it downloads at most.

        Raises:
            PlatformError: it failed.
        """
        with subprocess.Popen(
            [self._program, *arguments],
            env=self._variables,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(self._lock,),
            umask=0o022,  # services may run as other users
        ) as process:
            try:
                lines = list(self._follow(process, expected_bytes))
            except BaseException:
                _stop(process)
                raise
        if process.returncode != 0:
            raise failure(process.returncode, lines)

    def _follow(self, process: subprocess.Popen[bytes], expected_bytes: int) -> Iterator[str]:
        """Every line, while the progress is told."""
        reading = Reading()
        for line in _lines(process):
            if line is not None:
                yield line
                reading.take(line)
                if line.startswith("warning:"):
                    self.progress.say(f"  {line}")
            label, done_bytes, total_bytes = reading.describe(expected_bytes)
            self.progress.show(label, done_bytes=done_bytes, total_bytes=total_bytes)


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str | None]:
    """The lines of standard error, and None whenever none came for a moment."""
    assert process.stderr is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=0.5):
                yield None
                continue
            chunk = process.stderr.read1(65536)  # type: ignore[attr-defined]
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
            if not chunk:
                yield rest.decode(errors="replace")
                return


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
