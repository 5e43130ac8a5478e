"""What carrying out runs takes, wherever that is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dataharbour.jobs.backends.launch import BackendOf
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.jobs.store import RunStore
from dataharbour.settings import Settings


@dataclass(frozen=True)
class Site:
    """What carrying out runs takes, of this installation.

    Attributes:
        backend_of: the backend of a name.
        clock: the present, aware UTC.
    """

    store: RunStore
    settings: Settings
    lake: LakeEndpoint
    backend_of: BackendOf
    clock: Callable[[], datetime]
