"""An embedded platform for tests and benchmarks: folder and ports of its own, gone afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dataharbour.cli.client import Client
from dataharbour.platform import credentials
from dataharbour.platform.airflow_api import AirflowApi
from dataharbour.platform.layout import Home

_OF_ANOTHER = ("HARBOUR_", "DATAHARBOUR_", "AIRFLOW", "AWS_", "PG", "SPARK_")


@dataclass(frozen=True)
class RunningPlatform:
    """What one needs to talk to it.

    Attributes:
        home: its state folder.
        environment: as `harbour env` prints it.
    """

    home: Home
    environment: dict[str, str]

    @property
    def url(self) -> str:
        """Address of the API, ending in ``/dataharbour``."""
        return self.environment["DATAHARBOUR_URL"]

    @property
    def airflow_url(self) -> str:
        """Address of Airflow."""
        return self.environment["AIRFLOW_URL"]

    @property
    def token(self) -> str:
        """A bearer token of the admin."""
        return self.environment["DATAHARBOUR_TOKEN"]

    @property
    def api(self) -> Client:
        """The jobs API as the admin sees it."""
        return Client(self.url, self.token)

    @cached_property
    def tokens(self) -> dict[str, str]:
        """A bearer token per role."""
        users = credentials.load(self.home.secrets).users
        return {
            role: AirflowApi(self.airflow_url, user=role, password=password).token()
            for role, password in users.items()
        }

    def harbour(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb on this platform."""
        return run_harbour(self.home.root, *arguments, check=check)


def neutral_environment() -> dict[str, str]:
    """Our environment without what a developer has set for some other platform."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OF_ANOTHER)}


def run_harbour(
    home: Path, *arguments: str, check: bool = True, timeout_s: float = 900, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`harbour` with the state folder `home`; what it says is captured.

    Args:
        home: the state folder.
        arguments: verb and options.
        check: whether another exit code than 0 is an error.
        timeout_s: how long it may take.
        environment: variables beside those of this process.

    Raises:
        RuntimeError: `check`, and it ended with another code than 0.
    """
    done = subprocess.run(
        [sys.executable, "-m", "dataharbour.cli", *arguments],
        env={**neutral_environment(), **environment, "HARBOUR_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if check and done.returncode:
        raise RuntimeError(f"harbour {' '.join(arguments)}: {done.stdout}\n{done.stderr}")
    return done


@contextmanager
def running_platform(*options: str) -> Iterator[RunningPlatform]:
    """A platform in a temporary folder, gone afterwards.

    Args:
        options: of `harbour up`.

    Raises:
        RuntimeError: it could not be started, or not be destroyed.
    """
    with tempfile.TemporaryDirectory(prefix="harbour-") as folder:
        # Started as root, PostgreSQL and Spark run as other users, who must be able to come here.
        Path(folder).chmod(0o711)
        home = Home(Path(folder) / "home")
        try:
            run_harbour(home.root, "up", "--no-tour", *options)
            variables = json.loads(run_harbour(home.root, "env", "-o", "json").stdout)
            yield RunningPlatform(home, variables)
        finally:
            run_harbour(home.root, "destroy", "--yes")
