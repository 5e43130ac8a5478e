"""Make the backends, each from the connections that it needs."""

from __future__ import annotations

from collections.abc import Callable

from dataharbour.errors import ConfigError
from dataharbour.hooks.spark_connect import DataHarbourSparkConnectHook
from dataharbour.hooks.spark_standalone import StandaloneHook
from dataharbour.jobs.backends.connect import ConnectBackend
from dataharbour.jobs.backends.docker import DockerBackend, Engine
from dataharbour.jobs.backends.launch import Backend
from dataharbour.jobs.backends.local import LocalBackend
from dataharbour.jobs.backends.names import BackendName
from dataharbour.jobs.backends.standalone import StandaloneBackend


def _engine() -> Engine:
    from dataharbour.hooks.docker import DataHarbourDockerHook  # the library is slow to import

    return DataHarbourDockerHook()


def _yarn() -> Backend:
    from dataharbour.hooks.yarn import YarnBackend  # the provider's hook is slow to import

    return YarnBackend()


def _k8s() -> Backend:
    from dataharbour.hooks.k8s import K8sBackend

    return K8sBackend()


# A connection is asked for when its backend first needs it, and no earlier.
MAKERS: dict[BackendName, Callable[[], Backend]] = {
    BackendName.CONNECT: lambda: ConnectBackend(lambda: DataHarbourSparkConnectHook().endpoint()),
    BackendName.LOCAL: LocalBackend,
    BackendName.DOCKER: lambda: DockerBackend(_engine),
    BackendName.STANDALONE: lambda: StandaloneBackend(lambda: StandaloneHook().endpoint()),
    BackendName.YARN: _yarn,
    BackendName.K8S: _k8s,
}


def backend_of(name: str) -> Backend:
    """The backend of that name.

    Raises:
        ConfigError: there is none.
    """
    try:
        return MAKERS[BackendName(name)]()
    except ValueError:
        raise ConfigError(
            f"There is no backend {name!r}.", f"Use one of: {', '.join(BackendName)}."
        ) from None
