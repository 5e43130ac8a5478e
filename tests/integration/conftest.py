"""The embedded platform, started once per test run in a state folder and on ports of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dataharbour.platform import credentials
from dataharbour.platform.airflow_api import AirflowApi
from dataharbour.platform.layout import Checkout, Home, find_checkout


@dataclass(frozen=True)
class RunningPlatform:
    """What tests need to talk to it."""

    checkout: Checkout
    home: Home
    environment: dict[str, str]  # as `harbour env` prints it

    @property
    def url(self) -> str:
        return self.environment["DATAHARBOUR_URL"]

    @property
    def airflow_url(self) -> str:
        return self.environment["AIRFLOW_URL"]

    @property
    def token(self) -> str:
        return self.environment["DATAHARBOUR_TOKEN"]

    @property
    def tokens(self) -> dict[str, str]:
        users = credentials.load_or_create(self.home.secrets).users
        return {
            role: AirflowApi(self.airflow_url, user=role, password=password).token()
            for role, password in users.items()
        }

    def harbour(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb on this platform."""
        return run_harbour(self.home.root, *arguments, check=check)


def run_harbour(
    home: Path, *arguments: str, check: bool = True, timeout_s: float = 600
) -> subprocess.CompletedProcess[str]:
    """`harbour` with the state folder `home`."""
    done = subprocess.run(
        [sys.executable, "-m", "dataharbour.cli", *arguments],
        env={**os.environ, "HARBOUR_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"harbour {' '.join(arguments)}: {done.stdout}\n{done.stderr}")
    return done


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    # Started as root, PostgreSQL and Spark run as other users, who must be able to come here.
    folder = tmp_path_factory.mktemp("platform")
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    home = Home(folder / "home")
    try:
        run_harbour(home.root, "up", "--no-tour")
        variables = json.loads(run_harbour(home.root, "env", "-o", "json").stdout)
        yield RunningPlatform(find_checkout(), home, variables)
    finally:
        run_harbour(home.root, "destroy", "--yes", check=False)
