"""Read DataHarbour's settings: the section [dataharbour] of Airflow's configuration.

Reads the file and the environment itself, so that domain packages, Spark
drivers and the CLI get the values without importing Airflow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

from dataharbour.errors import ConfigError

SECTION = "dataharbour"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where this installation keeps its parts.

    Attributes:
        home: the state folder.
        include_dir: the folder of YAML files (jobs, expectations, …).
        applications: folders below which Spark applications may lie.
        lake: URI of the data bucket, ``s3a://lake`` or ``file:///…``.
        java_home: a Java 17 or newer, or None for the one that Spark finds.
        spark_defaults: a Spark properties file without secrets, or None.
        driver_dsn_file: file (0600) with the libpq conninfo of the drivers' role.
        max_active_runs_per_user: how many runs of one user may be open when they
            ask the API for another; 0: any number.
        max_streams_per_user: how many event streams and waiting requests of one user
            one process of the API keeps open; 0: any number.
        artifacts_days: how many days the artifacts of a run stay after its end; 0: for ever.
        notebooks: the folder below which notebooks may lie that are run as jobs, or None.
        notebooks_url: where JupyterLab is; None where it is switched off.
    """

    home: Path
    include_dir: Path
    applications: tuple[Path, ...]
    lake: str
    java_home: Path | None
    spark_defaults: Path | None
    driver_dsn_file: Path
    max_active_runs_per_user: int = 200
    max_streams_per_user: int = 100
    artifacts_days: int = 60
    notebooks: Path | None = None
    notebooks_url: str | None = None

    @property
    def stored_jobs(self) -> Path:
        """Mirror of the jobs that were stored over REST; hand-made job files may lie beside."""
        return self.home / "jobs"

    @property
    def runs(self) -> Path:
        """One folder for each attempt whose driver was started on this machine."""
        return self.home / "runs"

    @property
    def artifacts(self) -> Path:
        """What attempts have left for people, without secrets; one folder each."""
        return self.home / "artifacts"

    @property
    def event_logs(self) -> Path:
        """The event logs of Spark applications; there when a history server shows them."""
        return self.home / "spark" / "events"

    @property
    def job_folders(self) -> tuple[Path, ...]:
        """Where job files lie: those under version control, then those of this installation."""
        return (self.include_dir / "jobs", self.stored_jobs)


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from `environ` and the airflow.cfg it points to.

    Raises:
        ConfigError: a required option is missing.
    """
    options = _options(environ)
    home = Path(_required(options, "home", environ)).expanduser()
    java_home, spark_defaults = options.get("java_home"), options.get("spark_defaults")
    notebooks = options.get("notebooks")
    return Settings(
        home=home,
        include_dir=Path(_required(options, "include_dir", environ)),
        applications=tuple(
            Path(root) for root in _required(options, "applications", environ).split(":") if root
        ),
        lake=_required(options, "lake", environ).rstrip("/"),
        java_home=Path(java_home) if java_home else None,
        spark_defaults=Path(spark_defaults) if spark_defaults else None,
        driver_dsn_file=Path(options.get("driver_dsn_file") or home / "secrets" / "driver.dsn"),
        max_active_runs_per_user=_count(options, "max_active_runs_per_user", 200),
        max_streams_per_user=_count(options, "max_streams_per_user", 100),
        artifacts_days=_count(options, "artifacts_days", 60),
        notebooks=Path(notebooks).expanduser() if notebooks else None,
        notebooks_url=options.get("notebooks_url") or None,
    )


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """The airflow.cfg in use, by Airflow's own rule."""
    home = Path(environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
    return Path(environ.get("AIRFLOW_CONFIG") or home / "airflow.cfg").expanduser()


def _options(environ: Mapping[str, str]) -> dict[str, str]:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.read(config_file(environ))
    options = dict(parser[SECTION]) if parser.has_section(SECTION) else {}
    # Airflow interpolates its file, so a percent sign is written twice there.
    options = {name: value.replace("%%", "%") for name, value in options.items()}
    prefix = f"AIRFLOW__{SECTION.upper()}__"
    for name, value in environ.items():
        if name.startswith(prefix):
            options[name.removeprefix(prefix).lower()] = value
    return options


def _required(options: Mapping[str, str], name: str, environ: Mapping[str, str]) -> str:
    value = options.get(name, "").strip()
    if not value:
        raise ConfigError(
            f"The option [{SECTION}] {name} is not set (looked in {config_file(environ)}).",
            f"Set it there, or as AIRFLOW__{SECTION.upper()}__{name.upper()}; "
            'for the embedded platform run: eval "$(./harbour env)".',
        )
    return value


def _count(options: Mapping[str, str], name: str, default: int) -> int:
    value = options.get(name, "").strip() or str(default)
    if not value.isdecimal() or len(value) > 9:
        raise ConfigError(
            f"The option [{SECTION}] {name} is {value[:60]!r}, which is no number.",
            "Set a whole number; 0 means no limit.",
        )
    return int(value)
