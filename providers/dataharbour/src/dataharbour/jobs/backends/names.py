"""The backends by name: what jobs, requests and forms may choose from.

Pure. Where a driver runs, and what people are told about it; `hooks.backends` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class BackendName(StrEnum):
    """Where a run's driver works."""

    CONNECT = "connect"
    LOCAL = "local"
    DOCKER = "docker"
    STANDALONE = "standalone"
    YARN = "yarn"
    K8S = "k8s"


ABOUT: Mapping[BackendName, str] = {
    BackendName.CONNECT: "the warm Spark server (fast)",
    BackendName.LOCAL: "a Spark of its own (isolated)",
    BackendName.DOCKER: "a Spark of its own in a container (no network)",
    BackendName.STANDALONE: "a standalone cluster (several machines)",
    BackendName.YARN: "a Hadoop cluster, the driver in it",
    BackendName.K8S: "a Kubernetes cluster, the driver a pod",
}


class Profile(StrEnum):
    """How a Spark that starts for the run is tuned; the warm server has its own."""

    SHORT = "short"
    STANDARD = "standard"


ABOUT_PROFILES: Mapping[Profile, str] = {
    Profile.SHORT: "starts fastest (short jobs)",
    Profile.STANDARD: "runs fastest (minutes and more)",
}

NAME_LABEL = "name"  # the label by which a run chooses the application's name in Spark
PROVIDER_CONN_ID = "spark_default"  # the connection that the provider's operator takes by itself
