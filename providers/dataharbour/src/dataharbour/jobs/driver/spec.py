"""What a supervisor is told: a file that only its owner reads, deleted once it is read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ConnectSession:
    """The session of the driver on a Connect server, to be interrupted when it must end."""

    host: str
    port: int
    token: str = field(repr=False)
    session_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class DriverSpec:
    """One attempt, as its supervisor needs it.

    Attributes:
        conninfo: libpq string of the role `harbour_driver`.
        token: proves the attempt to the database.
        ticket: the attempt's first token, where others may have seen it on its way: good for
            the claim alone, which puts `token` in its place. None: `token` is the first one.
        external_id: where this driver runs, as its backend calls it, if it can tell itself.
        folder: the attempt's folder; the child works in its subfolder ``work``.
        command: argv of the child.
        environment: all variables of the child.
        timeout_s: seconds of user code, or None.
        afterwards: argv of a program that ends what a child that did not end well may have left
            elsewhere, in the child's environment; empty: none.
        secrets: values that are replaced in the log.
        event_logs: where the event logs go that Spark leaves in the folder's ``events``; empty:
            there are none.
        artifacts: the folder for cleaned copies of the attempt's artifacts; empty: nobody is
            shown any.
        app_prefix: how the id of its Spark application must begin, or nothing.
        renew_every_s: pause between two renewals of the lease (the database gives 30 s).
        fence_after_s: without a renewal for so long the child is killed; below the
            lease, so that it is dead before anybody may start another.
        grace_s: from SIGTERM to SIGKILL.
    """

    conninfo: str = field(repr=False)
    run_id: str
    attempt_id: str
    token: str = field(repr=False)
    folder: str
    command: list[str]
    environment: dict[str, str] = field(repr=False)
    timeout_s: float | None = None
    secrets: list[str] = field(default_factory=list, repr=False)
    session: ConnectSession | None = None
    afterwards: list[str] = field(default_factory=list)
    ticket: str | None = field(default=None, repr=False)
    external_id: str | None = None
    event_logs: str = ""
    artifacts: str = ""
    app_prefix: str = ""
    renew_every_s: float = 10.0
    fence_after_s: float = 28.0
    grace_s: float = 5.0

    def write(self, path: Path) -> None:
        """Write a new file that only the owner can read."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)

    @classmethod
    def read(cls, path: Path) -> DriverSpec:
        """Read the file, which somebody may take yet."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        session = values.pop("session")
        return cls(**values, session=ConnectSession(**session) if session else None)

    @classmethod
    def take(cls, path: Path) -> DriverSpec:
        """Read the file and delete it; of several takers one succeeds."""
        spec = cls.read(path)
        path.unlink()
        return spec
