"""Decide what a container engine is asked for: one container for one attempt.

Pure. Nothing is open: no network, no capability, no new privilege, a root
file system that cannot be written, a user that is not root, and limits on
memory, processors and processes. What may be written is the attempt's working
folder, its staging folder in a lake of files, and a small /tmp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

INSIDE = "/run/dataharbour"  # the attempt's folder, as the container sees it
PACKAGE = "/opt/dataharbour"  # what PYTHONPATH names: our few files for the child
APPLICATION = "/opt/application"  # the folder of the application's main file
ORDER = "DATAHARBOUR_CONTAINER"  # the variable by which `run` is told what to do
NOBODY = (65534, 65534)
TMP_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one container may use of this machine; no swap beside the memory."""

    memory_bytes: int
    cpus: float
    pids: int


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or a file of this machine in the container."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True)
class ContainerRequest:
    """One container.

    Attributes:
        name: by which it is found again.
        image: pinned by its digest.
        command: argv inside.
        environment: all variables beside the image's own.
        network: ``none``, or the name of a network of the engine.
        user: numbers of user and group.
        labels: for those who look at the engine.
    """

    name: str
    image: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    mounts: Sequence[Mount]
    limits: Limits
    network: str
    user: tuple[int, int]
    labels: Mapping[str, str]


def container_name(attempt_id: object) -> str:
    """The name of an attempt's container: whoever ends the attempt finds it by that."""
    return f"dataharbour-{attempt_id}"


def request_body(wanted: ContainerRequest) -> dict[str, Any]:
    """The body of ``POST /containers/create``.

    Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerCreate
    """
    return {
        "Image": wanted.image,
        "Cmd": list(wanted.command),
        "Entrypoint": [],  # of the image: it would come before our program
        "Env": [f"{name}={value}" for name, value in sorted(wanted.environment.items())],
        "User": f"{wanted.user[0]}:{wanted.user[1]}",
        "WorkingDir": f"{INSIDE}/work",
        "Hostname": "localhost",  # the only name that resolves without a network
        "Labels": dict(wanted.labels),
        "Tty": False,
        # Standard input stays open as long as the program that started the container lives:
        # when it ends, so does what is inside (`inside`).
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {
            "NetworkMode": wanted.network,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "IpcMode": "private",
            "Memory": wanted.limits.memory_bytes,
            "MemorySwap": wanted.limits.memory_bytes,
            "NanoCpus": round(wanted.limits.cpus * 1e9),
            "PidsLimit": wanted.limits.pids,
            "Tmpfs": {"/tmp": f"rw,nosuid,nodev,mode=1777,size={TMP_BYTES}"},
            "LogConfig": {"Type": "none", "Config": {}},  # the run's log is ours, cleaned
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": False,  # how it ended is asked afterwards
            "Mounts": [_mount(mount) for mount in wanted.mounts],
        },
    }


def _mount(mount: Mount) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": not mount.writable,
        "BindOptions": {"Propagation": "rprivate"},
    }
