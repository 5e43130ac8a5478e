"""The backend `docker`: one container per run, of one pinned image: isolation on one host.

The supervisor stays on this host, with the database; its child runs the container
(`container.run`), in which the application has a Spark of its own and nothing of
ours but a few files, the control pipe and the working folder.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dataharbour.errors import ConfigError, ConfNotAllowed
from dataharbour.jobs.backends.launch import LaunchContext, StartedDriver
from dataharbour.jobs.backends.local import JVM_FLAGS, LOGGING, SHORT_FLAGS, lake_keys
from dataharbour.jobs.backends.names import BackendName, Profile
from dataharbour.jobs.backends.start import (
    CLAIM_WITHIN_S,
    attempt_folder,
    driver_is_alive,
    kill_driver,
    process_environment,
    start_driver,
)
from dataharbour.jobs.conf import size_bytes
from dataharbour.jobs.container.body import (
    APPLICATION,
    INSIDE,
    NOBODY,
    ORDER,
    PACKAGE,
    ContainerRequest,
    Limits,
    Mount,
    container_name,
    request_body,
)
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.jobs.placeholders import output_root
from dataharbour.storage.address import split_address

_WORK = f"{INSIDE}/work"  # the folder that the application works in
_DRIVER = f"{PACKAGE}/dataharbour/jobs/driver"
_CORES, _MEMORY = "spark.driver.cores", "spark.driver.memory"
# Beside its heap the JVM takes about 300 MB, the Python process 100.
_BESIDE_HEAP_BYTES = 448 * 2**20
_RUNNER = (sys.executable, "-m", "dataharbour.jobs.container.run")


@dataclass(frozen=True, slots=True)
class DockerPlace:
    """A container engine on this host, and what a container gets there.

    Attributes:
        socket: ``unix:///var/run/docker.sock``.
        image: pinned by its digest; has Python 3.11, PySpark and a Java.
        network: ``none``, or the name of a network of the engine.
        spark_submit: the program in the image.
    """

    socket: str
    image: str
    limits: Limits
    network: str = "none"
    spark_submit: str = "spark-submit"


class Engine(Protocol):
    """What the backend itself asks of the engine; the rest is `container.run`'s."""

    @property
    def place(self) -> DockerPlace:
        """Where it is, and what a container gets."""
        ...

    def have_image(self) -> None:
        """See that the image is there, by pulling it if need be."""
        ...

    def remove(self, name: str) -> None:
        """Remove a container, running or not; none of that name is fine."""
        ...


class DockerBackend:
    """Runs the application in a container.

    Args:
        engine: the engine of this moment; asked when it is needed.
    """

    name = BackendName.DOCKER
    claim_within_s = CLAIM_WITHIN_S

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    def submit(self, context: LaunchContext) -> str:
        """See `Backend.submit`."""
        engine = self._engine()
        check_reachable(engine.place, context.lake)
        order = _order(engine.place, context)
        engine.have_image()
        return start_driver(
            context,
            command=[*_RUNNER],
            environment=process_environment(context, {ORDER: json.dumps(order)}),
            afterwards=[*_RUNNER, "--remove"],
        )

    def is_alive(self, external_id: str) -> bool | None:
        """See `Backend.is_alive`."""
        return driver_is_alive(external_id)

    def kill(self, driver: StartedDriver) -> None:
        """See `Backend.kill`. A container whose supervisor is gone ends itself; this removes it."""
        if driver.external_id:
            kill_driver(driver.external_id)
        with suppress(Exception):  # the engine may be what is down
            self._engine().remove(container_name(driver.attempt_id))

    def ui_url(self, external_id: str) -> str | None:
        """See `Backend.ui_url`: its pages are off."""
        return None


def _order(place: DockerPlace, context: LaunchContext) -> dict[str, Any]:
    """What `container.run` shall do."""
    user = (os.geteuid(), os.getegid()) if os.geteuid() else NOBODY
    attempt_id = str(context.grant.attempt_id)
    staging = _staging(context)
    wanted = ContainerRequest(
        name=container_name(attempt_id),
        image=place.image,
        command=list(_command(place, context)),
        environment=_environment(context),
        mounts=list(_mounts(context, staging)),
        limits=place.limits,
        network=place.network,
        user=user,
        labels={"dataharbour.run": str(context.grant.run_id), "dataharbour.attempt": attempt_id},
    )
    return {
        "socket": place.socket,
        "attempt_id": attempt_id,
        "user": list(user),
        "staging": staging and str(staging),
        "body": request_body(wanted),
    }


def _command(place: DockerPlace, context: LaunchContext) -> Iterator[str]:
    """Argv inside: our first process, spark-submit, the child, the application."""
    conf = context.request.conf
    cores = int(conf.get(_CORES, max(1, math.ceil(place.limits.cpus))))
    flags = JVM_FLAGS[Profile(context.request.profile)]
    yield from ("python3", f"{_DRIVER}/inside.py", place.spark_submit)
    yield from ("--master", f"local[{cores}]", "--name", context.application_name)
    yield from (
        "--driver-java-options",
        f"{flags} -Dlog4j2.configurationFile=file:{INSIDE}/log4j2.properties",
    )
    ours = {
        _MEMORY: _heap(place, conf),
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.warehouse.dir": f"file:{_WORK}/warehouse",
        **_lake_conf(context.lake),
    }
    wanted = {key: value for key, value in conf.items() if key not in (_CORES, _MEMORY)}
    for key, value in {**wanted, **ours}.items():
        yield from ("--conf", f"{key}={value}")
    application = context.application
    yield from (f"{_DRIVER}/child.py", INSIDE, application.sha256)
    yield f"{APPLICATION}/{application.path.name}"
    yield from context.request.args


def _heap(place: DockerPlace, conf: Mapping[str, str]) -> str:
    """The driver's heap, which must leave room in the container for what is beside it.

    Raises:
        ConfNotAllowed: the job asks for more than the container has.
    """
    room = place.limits.memory_bytes - _BESIDE_HEAP_BYTES
    asked = conf.get(_MEMORY)
    if asked is None:
        return f"{max(room, 2**28) // 2**20}m"
    if size_bytes(asked) > room:
        raise ConfNotAllowed(
            f"The Spark setting {_MEMORY} ({asked}) does not fit into the container, which has "
            f"{place.limits.memory_bytes // 2**20} MiB for heap, Python and all.",
            f"Ask for {max(room, 0) // 2**20}m or less, or raise memory in the extra of the "
            "connection dataharbour_docker.",
        )
    return asked


def _environment(context: LaunchContext) -> dict[str, str]:
    """The variables inside, beside the image's own."""
    return {
        "HOME": _WORK,
        "PYTHONPATH": PACKAGE,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYSPARK_PYTHON": "python3",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": f"{_WORK}/spark",  # /tmp is memory
        "SPARK_LAUNCHER_OPTS": SHORT_FLAGS,
        "DATAHARBOUR_RUN_ID": str(context.grant.run_id),
        "DATAHARBOUR_ATTEMPT_ID": str(context.grant.attempt_id),
        "DATAHARBOUR_LAKE": context.lake.uri,
        **lake_keys(context.lake),
    }


def _mounts(context: LaunchContext, staging: Path | None) -> Iterator[Mount]:
    """What of this host the container sees; a lake of files at its own path."""
    folder = attempt_folder(context)
    yield Mount(str(folder / "package"), PACKAGE)
    yield Mount(str(LOGGING), f"{INSIDE}/log4j2.properties")
    yield Mount(str(folder / "passwd"), "/etc/passwd")
    yield Mount(str(folder / "control"), f"{INSIDE}/control", writable=True)
    yield Mount(str(folder / "work"), _WORK, writable=True)
    yield Mount(str(context.application.path.parent), APPLICATION)
    if staging is not None:
        lake = str(_path(context.lake.uri))
        yield Mount(lake, lake)
        yield Mount(str(staging), str(staging), writable=True)


def _staging(context: LaunchContext) -> Path | None:
    """The only folder of a lake of files that the application may write to."""
    if not context.lake.uri.startswith("file:"):
        return None
    return _path(output_root(context.lake.uri, context.grant.attempt_id))


def _path(address: str) -> Path:
    return Path(split_address(address).path)


def _lake_conf(lake: LakeEndpoint) -> dict[str, str]:
    """How S3A reaches the lake; the keys are in the environment."""
    if lake.endpoint_url is None:
        return {}
    s3a = "spark.hadoop.fs.s3a"
    return {
        f"{s3a}.endpoint": lake.endpoint_url,
        f"{s3a}.path.style.access": "true",
        f"{s3a}.connection.ssl.enabled": str(lake.endpoint_url.startswith("https:")).lower(),
    }


def check_reachable(place: DockerPlace, lake: LakeEndpoint) -> None:
    """Refuse a lake that a container without a network can never reach.

    Raises:
        ConfigError: there is no network, and the lake is no folder.
    """
    if place.network == "none" and not lake.uri.startswith("file:"):
        raise ConfigError(
            f"The lake {lake.uri} is reached over a network, and containers of the backend docker "
            "have none.",
            "Name a network of the engine in the extra of the connection dataharbour_docker "
            '({"network": "lake"}), or use a lake of files (file:///…).',
        )
