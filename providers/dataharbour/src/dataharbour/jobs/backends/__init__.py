"""The places where drivers run; `get_backend` finds one by its name."""

from __future__ import annotations

from dataharbour.errors import ConfigError
from dataharbour.jobs.backends.connect import ConnectBackend
from dataharbour.jobs.backends.launch import Backend
from dataharbour.jobs.backends.local import LocalBackend

BACKENDS: dict[str, Backend] = {
    backend.name: backend for backend in (ConnectBackend(), LocalBackend())
}


def get_backend(name: str) -> Backend:
    """The backend of that name.

    Raises:
        ConfigError: there is none.
    """
    try:
        return BACKENDS[name]
    except KeyError:
        raise ConfigError(
            f"There is no backend {name!r}.", f"Use one of: {', '.join(BACKENDS)}."
        ) from None
