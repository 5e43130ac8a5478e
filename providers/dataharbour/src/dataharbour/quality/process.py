"""Run a suite in a process of its own, so that the memory of Great Expectations leaves with it.

Most of the time goes into importing the library. Who starts the process early (`start`) and
asks later (`evaluate`) has that behind them:

    with QualityProcess.start(environ=access) as quality:
        ...  # the job runs
        report = quality.evaluate("flights", root=staged, include_dir=include, timeout_s=300)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NoReturn, Self

from dataharbour import errors
from dataharbour.errors import DataHarbourError, QualityUnchecked
from dataharbour.quality.report import QualityReport

DEFAULT_TIMEOUT_S = 600.0
_TAIL_BYTES = 2_000


class QualityProcess:
    """One process that evaluates one suite."""

    def __init__(self, process: subprocess.Popen[str], stderr: IO[bytes]) -> None:
        self._process = process
        self._stderr = stderr

    @classmethod
    def start(cls, *, environ: Mapping[str, str]) -> Self:
        """Start the process; returns at once, while it imports the library.

        Args:
            environ: added to this process's environment: the S3 access, under AWS's names.
                Never arguments, which every user of the machine can read.
        """
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`; a pipe could fill up)
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "dataharbour.quality"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            encoding="utf-8",
            env=_inherited(environ) | dict(environ),
            start_new_session=True,
        )
        return cls(process, stderr)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def evaluate(
        self, suite: str, *, root: str, include_dir: Path, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> QualityReport:
        """Evaluate the suite `suite` on the tables below `root`; once per process.

        Args:
            suite: name of a file in `include_dir`/expectations.
            root: URI of the output root, ``s3a://…`` or ``file://…``.
            include_dir: the folder of YAML files.
            timeout_s: after so many seconds the process is killed.

        Raises:
            ConfigError: the suite does not exist, or is wrong.
            QualityUnchecked: the process did not answer in time, or died.
        """
        request = {"suite": suite, "root": root, "include_dir": str(include_dir)}
        try:
            answer, _ = self._process.communicate(json.dumps(request), timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise QualityUnchecked(
                f"Suite {suite}: no verdict within {timeout_s:g} s.",
                "Check fewer or smaller tables, or allow more time.",
            ) from error
        finally:
            self._process.kill()
        return _report(answer, suite=suite) if answer else self._died(suite)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        with self._process, self._stderr:  # on leaving: pipes closed, process reaped
            self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _died(self, suite: str) -> NoReturn:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _TAIL_BYTES))
        said = self._stderr.read().decode(errors="replace").strip().splitlines()
        raise QualityUnchecked(
            f"Suite {suite}: its process died with exit code {self._process.wait()}"
            + (f": {said[-1]}" if said else "."),
            "Exit code -9 is mostly a lack of memory; otherwise try again.",
        )


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """This process's environment; without its S3 access when `environ` brings another."""
    brings_access = "AWS_ACCESS_KEY_ID" in environ
    return {
        name: value
        for name, value in os.environ.items()
        if not (brings_access and name.startswith("AWS_"))
    }


def _report(answer: str, *, suite: str) -> QualityReport:
    """The report, or the error of the process raised here."""
    document = json.loads(answer)
    if "report" in document:
        return QualityReport.from_json(document["report"])
    error = document["error"]
    kind: type[DataHarbourError] = getattr(errors, error["type"], DataHarbourError)
    raise kind(f"Suite {suite}: {error['problem']}", error["remedy"])
