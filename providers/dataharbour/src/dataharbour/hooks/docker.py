"""Turn the connection ``dataharbour_docker`` into the container engine of this host."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from airflow.providers.docker.hooks.docker import DockerHook
from airflow.sdk.exceptions import AirflowException
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.jobs.backends.docker import DockerPlace
from dataharbour.jobs.conf import is_size, size_bytes
from dataharbour.jobs.container.body import Limits

if TYPE_CHECKING:
    from airflow.sdk import Connection

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
ENGINE_TIMEOUT_S = 20

_DIGEST = re.compile(r"(?:[^\s@]+@)?sha256:[0-9a-f]{64}")
_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_OPEN_NETWORKS = ("host", "default", "bridge")
_PROGRAM = re.compile(r"[A-Za-z0-9_./-]{1,200}")


class DataHarbourDockerHook(DockerHook):
    """Gives the container engine, and what a container of a run gets there.

    Args:
        docker_conn_id: an Airflow connection of type ``docker``: host, login and
            password are those of a registry, for pulling the image; none where it is
            here already. Of its extras only `image`, `socket`, `network`, `memory`,
            `cpus`, `pids`, `spark_submit` are read; all others are ignored.

    Raises:
        ConfigError: the connection says something that cannot be, or is not there.
    """

    default_conn_name = "dataharbour_docker"
    conn_type = "dataharbour_docker"  # a form of its own; the plain type works as well
    hook_name = "DataHarbour Docker"

    def __init__(self, docker_conn_id: str = default_conn_name) -> None:
        conn = self.get_connection(docker_conn_id)
        self.place = _place(conn)
        super().__init__(
            docker_conn_id=docker_conn_id if conn.host and conn.login else None,
            base_url=self.place.socket,
            version="auto",
            timeout=ENGINE_TIMEOUT_S,
        )

    def have_image(self) -> None:
        """See that the image is here, by pulling it if need be.

        Raises:
            ConfigError: there is no such image.
            Unavailable: the engine, or the registry, did not answer.
        """
        image = self.place.image
        try:
            client = self.get_conn()
            try:
                client.inspect_image(image)
            except ImageNotFound:
                if "@" not in image:
                    raise
                self.log.info("Pulling %s", image)
                client.pull(image)
        except NotFound:
            raise ConfigError(
                f"The container engine has no image {image}.",
                "Build or load it there, or name it with its registry (registry/name@sha256:…) in "
                "the extra of the connection dataharbour_docker.",
            ) from None
        except APIError as error:
            raise Unavailable(
                f"The container engine cannot get the image {image}: {error.explanation}.",
                "Look at the registry and at the connection dataharbour_docker.",
            ) from None
        except (AirflowException, DockerException, OSError):
            raise Unavailable(
                f"No container engine answers at {self.place.socket}.",
                "Start Docker (or: podman system service), let this user open its socket, or set "
                "socket in the extra of the connection dataharbour_docker.",
            ) from None

    def remove(self, name: str) -> None:
        """Remove a container, running or not; none of that name is fine."""
        try:
            self.get_conn().remove_container(name, force=True, v=True)
        except NotFound:
            self.log.debug("No container %s", name)


def _place(conn: Connection) -> DockerPlace:
    extra = conn.extra_dejson
    return DockerPlace(
        socket=_one(conn, extra, "socket", DEFAULT_SOCKET, _is_socket, _ON_THIS_HOST),
        image=_one(conn, extra, "image", "", _DIGEST.fullmatch, _PINNED),
        limits=Limits(
            memory_bytes=_memory(conn, extra),
            cpus=_number(conn, extra, "cpus", float(os.cpu_count() or 1), 0.1, 512),
            pids=int(_number(conn, extra, "pids", 512, 64, 100_000)),
        ),
        network=_one(conn, extra, "network", "none", _is_network, _NAMED),
        spark_submit=_one(conn, extra, "spark_submit", "spark-submit", _PROGRAM.fullmatch, _PATH),
    )


_PINNED = (
    "Pin the image by its digest, name@sha256:… or sha256:…: docker images --digests shows it. "
    "A tag may mean another image tomorrow."
)
_ON_THIS_HOST = (
    "Give unix:///path: the attempt's folder is mounted, so the engine must be on this host."
)
_NAMED = (
    "Give the name of a network that was made for it (docker network create lake), or leave it "
    "out: host and bridge would let applications reach this machine."
)
_PATH = "Give the program in the image, such as /opt/spark/bin/spark-submit."


def _one(
    conn: Connection, extra: dict[str, Any], name: str, default: str, is_good: Any, remedy: str
) -> str:
    value = str(extra.get(name) or default)
    if not is_good(value):
        what = f"{name} {value!r}, which cannot be" if value else f"no {name}"
        raise ConfigError(f"The extra of connection {conn.conn_id!r} has {what}.", remedy)
    return value


def _is_socket(value: str) -> bool:
    return value.startswith("unix:///")


def _is_network(value: str) -> bool:
    return value not in _OPEN_NETWORKS and _NETWORK.fullmatch(value) is not None


def _memory(conn: Connection, extra: dict[str, Any]) -> int:
    value = str(extra.get("memory") or "2g")
    if not (is_size(value) and 2**30 <= size_bytes(value) <= 2**40):
        raise ConfigError(
            f"The extra of connection {conn.conn_id!r} has memory {value!r}, which cannot be.",
            "Give a size from 1g to 1024g, such as 4g.",
        )
    return size_bytes(value)


def _number(
    conn: Connection, extra: dict[str, Any], name: str, default: float, low: float, high: float
) -> float:
    value = extra.get(name)
    try:
        number = float(default if value in (None, "") else str(value))
    except ValueError:
        number = -1
    if not low <= number <= high:
        raise ConfigError(
            f"The extra of connection {conn.conn_id!r} has {name} {value!r}, which cannot be.",
            f"Give a number from {low:g} to {high:g}.",
        )
    return number
