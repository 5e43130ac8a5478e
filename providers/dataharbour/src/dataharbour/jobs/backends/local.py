"""The backend `local`: a Spark of its own for the run, by `spark-submit --master local[*]`.

The isolated lane: seconds slower to start than `connect`, with nothing shared.
Spark has no UI and logs warnings. The profile `short` has the first compiler tier
only and the serial collector, which starts fastest; `standard` leaves the JVM as
it is, which runs fastest. Both take Spark's classes from an archive, once that is made.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from dataharbour.errors import ConfigError
from dataharbour.jobs import event_logs
from dataharbour.jobs.backends.class_archive import ClassArchive, make_in_background
from dataharbour.jobs.backends.launch import LaunchContext, StartedDriver
from dataharbour.jobs.backends.names import BackendName, Profile
from dataharbour.jobs.backends.start import (
    CLAIM_WITHIN_S,
    attempt_folder,
    child_arguments,
    child_environment,
    driver_is_alive,
    kill_driver,
    own_event_logs,
    process_environment,
    start_driver,
)
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.storage.address import folder_address

log = logging.getLogger(__name__)

SHORT_FLAGS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"
JVM_FLAGS = {Profile.SHORT: SHORT_FLAGS, Profile.STANDARD: "-Xshare:auto"}
LOGGING = Path(__file__).with_name("log4j2-warn.properties")
_CORES = "spark.driver.cores"


class LocalBackend:
    """Runs the application in a Spark that starts and ends with it."""

    name = BackendName.LOCAL
    claim_within_s = CLAIM_WITHIN_S

    def submit(self, context: LaunchContext) -> str:
        """See `Backend.submit`."""
        home = _spark_home()
        archive = ClassArchive.of(
            context.settings.home,
            java_home=_java_home(context),
            spark_home=home,
            defaults=context.settings.spark_defaults,
        )
        folder = attempt_folder(context)
        logs = context.settings.event_logs
        # Where somebody shows them; a short job would pay for it with its start.
        is_logged = logs.is_dir() and context.request.profile != Profile.SHORT
        extra = {
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LAUNCHER_OPTS": SHORT_FLAGS,  # a JVM that only reads the command line
            **lake_keys(context.lake),
        }
        external_id = start_driver(
            context,
            command=[
                str(home / "bin" / "spark-submit"),
                *_options(context, folder, archive.flags() if archive else ""),
                *(_logged(folder) if is_logged else ()),
                *child_arguments(context, folder),
            ],
            environment=child_environment(context, extra),
            event_logs=logs if is_logged else None,
        )
        if archive is not None:
            _train(archive, context)
        return external_id

    def is_alive(self, external_id: str) -> bool | None:
        """See `Backend.is_alive`."""
        return driver_is_alive(external_id)

    def kill(self, driver: StartedDriver) -> None:
        """See `Backend.kill`; its JVM ends with it."""
        if driver.external_id:
            kill_driver(driver.external_id)

    def ui_url(self, external_id: str) -> str | None:
        """See `Backend.ui_url`: its pages are off."""
        return None


def _train(archive: ClassArchive, context: LaunchContext) -> None:
    """Have the archive made if it is not there; the driver that was started does without."""
    try:
        if archive.is_wanted():
            environment = process_environment(context, {})
            make_in_background(archive, jvm_flags=SHORT_FLAGS, environment=environment)
    except OSError as error:
        log.warning("The archive of Spark's classes is not made now: %s", error)


def _options(context: LaunchContext, folder: Path, archive_flags: str) -> Iterator[str]:
    conf = context.request.conf
    flags = f"{JVM_FLAGS[Profile(context.request.profile)]} {archive_flags}".strip()
    yield from ("--master", f"local[{conf.get(_CORES, '*')}]")
    yield from ("--name", context.application_name)
    defaults = context.settings.spark_defaults
    if defaults is not None:
        yield from ("--properties-file", str(defaults))
    yield from (
        "--driver-java-options",
        f"{flags} -Dlog4j2.configurationFile={LOGGING.as_uri()}",
    )
    ours = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.warehouse.dir": folder_address(folder / "work" / "warehouse"),
        **event_logs.mark_of(context.grant.run_id),
    }
    wanted: Mapping[str, str] = {k: v for k, v in conf.items() if k != _CORES}
    for key, value in {**wanted, **ours}.items():
        yield from ("--conf", f"{key}={value}")


def _logged(folder: Path) -> Iterator[str]:
    for key, value in event_logs.settings_of(own_event_logs(folder)).items():
        yield from ("--conf", f"{key}={value}")


def lake_keys(lake: LakeEndpoint) -> dict[str, str]:
    """S3A's environment provider reads these; nothing else hands keys to the JVM."""
    if lake.access_key is None or lake.secret_key is None:
        return {}
    keys = {"AWS_ACCESS_KEY_ID": lake.access_key, "AWS_SECRET_ACCESS_KEY": lake.secret_key}
    return keys | ({"AWS_REGION": lake.region} if lake.region else {})


def _java_home(context: LaunchContext) -> Path | None:
    """The Java that spark-submit will take."""
    if context.settings.java_home is not None:
        return context.settings.java_home
    named = os.environ.get("JAVA_HOME")
    return Path(named) if named else None


def _spark_home() -> Path:
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "The backend local needs pyspark, which is not installed.",
            "pip install pyspark==4.3.0, or use the backend connect.",
        )
    return Path(spec.origin).parent
