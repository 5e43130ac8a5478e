"""Where everything of one embedded platform lies. Decides paths; touches nothing but `find_*`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dataharbour.errors import PlatformError


@dataclass(frozen=True, slots=True)
class Checkout:
    """The folder with `dags/`, `include/`, `spark_jobs/` and the `harbour` command."""

    root: Path

    @property
    def dags(self) -> Path:
        """DAG files."""
        return self.root / "dags"

    @property
    def plugins(self) -> Path:
        """Airflow's plugins folder."""
        return self.root / "plugins"

    @property
    def include(self) -> Path:
        """YAML, SQL and other data."""
        return self.root / "include"

    @property
    def applications(self) -> Path:
        """PySpark applications."""
        return self.root / "spark_jobs"


@dataclass(frozen=True, slots=True)
class Home:
    """The state folder, `.harbour/` in the checkout or `$HARBOUR_HOME`."""

    root: Path

    @property
    def data(self) -> Path:
        """What must survive: one folder per store."""
        return self.root / "data"

    @property
    def logs(self) -> Path:
        """One log file per service."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """What belongs to the platform that runs now: socket, ports, tokens."""
        return self.root / "run"

    @property
    def secrets(self) -> Path:
        """Generated secrets (0700, files 0600)."""
        return self.root / "secrets"

    @property
    def config(self) -> Path:
        """Rendered configuration of the services (0700)."""
        return self.root / "config"

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME."""
        return self.root / "airflow"

    @property
    def spark(self) -> Path:
        """Jars, configuration and scratch space of Spark; belongs to Spark's account."""
        return self.root / "spark"

    @property
    def runs(self) -> Path:
        """One folder per driver that was started here."""
        return self.root / "runs"

    @property
    def notebooks(self) -> Path:
        """The people's notebooks."""
        return self.root / "notebooks"

    @property
    def jupyter(self) -> Path:
        """JupyterLab's own files: configuration, HOME, sockets."""
        return self.root / "jupyter"

    @property
    def applications(self) -> Path:
        """Applications of this installation, beside those of the checkout."""
        return self.root / "applications"

    @property
    def jobs(self) -> Path:
        """Mirror of the job definitions that were stored over REST."""
        return self.root / "jobs"

    @property
    def driver_posts(self) -> Path:
        """Sockets of the drivers that wait for an attempt."""
        return self.run / "drivers"

    @property
    def socket(self) -> Path:
        """The process supervisor's socket."""
        return self.run / "supervisor.sock"


def find_checkout() -> Checkout:
    """The checkout that this package was installed from.

    Raises:
        PlatformError: the package lies elsewhere (an Airflow of one's own has no platform).
    """
    for folder in Path(__file__).resolve().parents:
        if (folder / "harbour").is_file() and (folder / "dags").is_dir():
            return Checkout(folder)
    raise PlatformError(
        f"The embedded platform needs a checkout of DataHarbour; {__file__} is outside of one.",
        "Clone the repository and run ./harbour there.",
    )


def find_home(checkout: Checkout, environ: Mapping[str, str] = os.environ) -> Home:
    """The state folder of `checkout`: `$HARBOUR_HOME`, else `.harbour/` in it; links are followed.

    Raises:
        PlatformError: the path is too long for the supervisor's socket.
    """
    given = environ.get("HARBOUR_HOME")
    root = Path(given).expanduser() if given else checkout.root / ".harbour"
    home = Home(Path(os.path.realpath(root)))
    if len(os.fsencode(home.socket)) > _SOCKET_PATH_MAX:
        raise PlatformError(
            f"The state folder's path is too long for a socket: {home.root} "
            f"({len(os.fsencode(home.socket))} bytes with run/supervisor.sock, "
            f"{_SOCKET_PATH_MAX} are possible).",
            "Set HARBOUR_HOME to a shorter path, e.g. HARBOUR_HOME=~/harbour ./harbour up.",
        )
    return home


_SOCKET_PATH_MAX = 90  # sun_path holds 107; supervisor appends its pid while it binds
