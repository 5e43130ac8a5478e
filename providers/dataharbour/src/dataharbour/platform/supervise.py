"""Talk to the process supervisor (the package `supervisor`): configure, start, stop, ask."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xmlrpc.client import Fault, ServerProxy, Transport

from dataharbour.errors import PlatformError
from dataharbour.platform import launch
from dataharbour.platform.credentials import write_private
from dataharbour.platform.layout import Home

if TYPE_CHECKING:
    from dataharbour.postgres.cluster import Account


@dataclass(frozen=True, slots=True)
class Service:
    """One supervised process.

    Attributes:
        name: as in `status`.
        command: argv; holds no secret.
        environment: all that it gets.
        directory: where it runs.
        account: whom it runs as; None for the supervisor's user.
        stop_signal: how it is asked to stop.
        stop_wait_s: how long it may take before SIGKILL.
    """

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path = Path("/")
    account: Account | None = None
    stop_signal: str = "TERM"
    stop_wait_s: int = 60


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What the supervisor says of a service: `running starting stopping stopped failed`."""

    name: str
    state: str
    pid: int | None
    since: float | None  # Unix time


_STATES = {
    "RUNNING": "running",
    "STARTING": "starting",
    "STOPPING": "stopping",
    "STOPPED": "stopped",
    "BACKOFF": "failed",
    "FATAL": "failed",
    "EXITED": "failed",
    "UNKNOWN": "failed",
}


_BAD_NAME, _ALREADY_STARTED = 10, 60  # supervisor.xmlrpc.Faults


class _Unix(Transport):
    """XML-RPC over a socket file."""

    def __init__(self, socket_file: Path) -> None:
        super().__init__()
        self._file = socket_file

    def make_connection(self, host: Any) -> HTTPConnection:
        """Connect (to the file; `host` is only a name in the request)."""
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.settimeout(30)
            channel.connect(str(self._file))
        except OSError:
            channel.close()
            raise
        connection = HTTPConnection("localhost")
        connection.sock = channel
        self._connection = host, connection
        return connection


class Supervisor:
    """The supervisor of one platform."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.config_file = home.config / "supervisord.conf"

    def is_alive(self) -> bool:
        """Whether it answers."""
        try:
            self._call("getState")
        except (OSError, Fault):
            return False
        return True

    def configure(self, services: Iterable[Service]) -> bool:
        """Write the configuration (0600: it carries secrets). Returns whether it changed."""
        services = list(services)
        files = {self.config_file: _supervisor_file(services)}
        for service in services:
            entry = self.home.config / "services" / service.name
            files[entry.with_suffix(".json")] = _service_file(self.home, service)
            files[entry.with_suffix(".sh")] = _start_script(entry.with_suffix(".json"))
        changed = [f for f, text in files.items() if not f.exists() or f.read_text() != text]
        for file in changed:
            write_private(file, files[file])
        return bool(changed)

    def ensure_running(self) -> None:
        """Start the supervisor unless it answers; it detaches from the terminal.

        Raises:
            PlatformError: it did not come up.
        """
        if self.is_alive():
            return
        with contextlib.suppress(FileNotFoundError):
            self.home.socket.unlink()
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", "config/supervisord.conf"],
            cwd=self.home.root,  # the configuration names every path from here
            env=_clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PlatformError(
                f"The process supervisor did not start: {(done.stderr or done.stdout).strip()}",
                f"See {self.home.logs / 'supervisor.log'}.",
            )
        deadline = time.monotonic() + 15
        while not self.is_alive():
            if time.monotonic() > deadline:
                raise PlatformError(
                    "The process supervisor did not start within 15 s.",
                    f"See {self.home.logs / 'supervisor.log'}.",
                )
            time.sleep(0.05)

    def include(self, name: str, *, wanted: bool) -> None:
        """Have a supervisor that runs already know a service, or forget it once it is stopped."""
        known = name in {state.name for state in self.states()}
        if known == wanted:
            return
        if known:
            self.stop([name])
        self._call("reloadConfig")
        self._call("addProcessGroup" if wanted else "removeProcessGroup", name)

    def start(self, name: str) -> None:
        """Start a service unless it runs; returns at once.

        One that was configured since the supervisor started is made known to it first.

        Raises:
            PlatformError: the supervisor does not know it, or cannot start it.
        """
        try:
            if name not in {state.name for state in self.states()}:
                self._call("reloadConfig")
                self._call("addProcessGroup", name)
            self._call("startProcess", name, False)
        except Fault as fault:
            if fault.faultCode == _ALREADY_STARTED:
                return
            if fault.faultCode == _BAD_NAME:
                raise PlatformError(
                    f"The running process supervisor does not know {name}.",
                    "Run ./harbour restart.",
                ) from fault
            raise PlatformError(
                f"{name} could not be started: {fault.faultString}.",
                f"See {self.home.logs / 'supervisor.log'}; then ./harbour restart.",
            ) from fault

    def stop(self, names: Iterable[str], *, timeout_s: float = 120.0) -> None:
        """Stop services together and wait for all of them."""
        names = list(names)
        for name in names:
            with contextlib.suppress(Fault):  # NOT_RUNNING, BAD_NAME
                self._call("stopProcess", name, False)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            states = {s.name: s.state for s in self.states()}
            if not any(states.get(n) in ("running", "starting", "stopping") for n in names):
                return
            time.sleep(0.05)

    def forget(self, names: Iterable[str]) -> None:
        """Stop services, and show them no more."""
        known = [state.name for state in self.states()]
        gone = [name for name in names if name in known]
        self.stop(gone)
        for name in gone:
            with contextlib.suppress(Fault):
                self._call("removeProcessGroup", name)

    def states(self) -> list[ServiceState]:
        """All services; empty when the supervisor does not answer."""
        try:
            rows: Any = self._call("getAllProcessInfo")
        except (OSError, Fault):
            return []
        return [
            ServiceState(
                name=row["name"],
                state=_STATES[row["statename"]],
                pid=row["pid"] or None,
                since=float(row["start"]) if row["start"] else None,
            )
            for row in rows
        ]

    def shutdown(self) -> None:
        """End the supervisor itself."""
        try:
            pid: Any = self._call("getPID")
            self._call("shutdown")
        except (OSError, Fault):
            return
        deadline = time.monotonic() + 120
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _call(self, method: str, *arguments: Any) -> Any:
        with ServerProxy("http://localhost", transport=_Unix(self.home.socket)) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)


# The supervisor expands `%` (some values twice) and takes ` ;` for a comment, so a path must not
# stand in its file: everything there is relative to the state folder, and what a service is
# started with lies in a file of its own.
_HEAD = """\
[unix_http_server]
file = run/supervisor.sock
chmod = 0600

[supervisord]
logfile = logs/supervisor.log
logfile_maxbytes = 5MB
logfile_backups = 1
pidfile = run/supervisor.pid
childlogdir = logs
umask = 077

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

_PROGRAM = """
[program:{name}]
command = /bin/sh config/services/{name}.sh
stdout_logfile = logs/{name}.log
redirect_stderr = true
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 2
autostart = false
autorestart = true
startsecs = 2
startretries = 1000000
stopsignal = {signal}
stopwaitsecs = {wait}
killasgroup = true
"""


def _supervisor_file(services: Iterable[Service]) -> str:
    head = _HEAD.replace("umask", "user = root\numask") if os.geteuid() == 0 else _HEAD
    return head + "".join(
        _PROGRAM.format(name=s.name, signal=s.stop_signal, wait=s.stop_wait_s) for s in services
    )


def _service_file(home: Home, service: Service) -> str:
    account = service.account
    start = {
        "command": service.command,
        "directory": str(service.directory),
        "environment": {**service.environment, **launch.marks(home.root, service.name)},
        "user": [account.uid, account.gid] if account else None,
    }
    return json.dumps(start, indent=1)


def _start_script(service_file: Path) -> str:
    command = [sys.executable, "-I", launch.__file__, str(service_file)]
    return f"exec {shlex.join(command)}\n"


def _clean_environment() -> dict[str, str]:
    """What the supervisor itself needs; a service gets its own environment and nothing else."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "TZ")
    return {name: os.environ[name] for name in kept if name in os.environ}
