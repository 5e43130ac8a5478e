"""Start the supervisor of a driver: detached, in a session of its own.

It outlives the process that starts it (an Airflow task), and no secret is in
its arguments: those are in a 0600 file that it deletes after reading.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from dataharbour.errors import ConfigError
from dataharbour.jobs.backends.launch import LaunchContext
from dataharbour.jobs.driver.handover import hand_over
from dataharbour.jobs.driver.process import is_running, start_ticks
from dataharbour.jobs.driver.spec import ConnectSession, DriverSpec
from dataharbour.jobs.notebooks import is_notebook, parameters

CHILD = Path(__file__).parents[1] / "driver" / "child.py"

CLAIM_WITHIN_S = 60.0  # a driver claims after about 0.5 s; a machine that swaps may need long

# All that a driver takes over from the process that starts it: Airflow's own
# environment holds Airflow's secrets.
_INHERITED = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH",
    "JAVA_HOME",
)  # fmt: skip
_PROCESS = re.compile(r"(?P<host>[^:]+):(?P<pid>[0-9]+):(?P<ticks>[0-9]+)")
# By these `harbour down` finds the driver, and a restarted service leaves it alone.
_PLATFORM, _SERVICE = "HARBOUR_PLATFORM", "HARBOUR_SERVICE"


def child_arguments(context: LaunchContext, folder: Path) -> list[str]:
    """How `driver/child.py` is called: its file, the attempt's folder, then the application."""
    application, args = context.application, context.request.args
    if is_notebook(application.path.name):
        args = (json.dumps(parameters(args, context.request.params)),)
    return [str(CHILD), str(folder), application.sha256, str(application.path), *args]


def attempt_folder(context: LaunchContext) -> Path:
    """Where an attempt keeps its log and its working folder."""
    return context.settings.runs / str(context.grant.attempt_id)


def own_event_logs(folder: Path) -> Path:
    """Where the Spark of an attempt writes its event log, in the attempt's folder."""
    return folder / "events"


def process_environment(context: LaunchContext, extra: Mapping[str, str]) -> dict[str, str]:
    """What every process of a driver has: how it is found again, and nothing of Airflow's."""
    return {**_inherited(), **marks_of(context, "application"), **extra}


def child_environment(context: LaunchContext, extra: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the application, without any secret of ours."""
    java_home = context.settings.java_home
    own = {
        **({"JAVA_HOME": str(java_home)} if java_home else {}),
        "PYSPARK_PYTHON": sys.executable,
        **application_variables(context),
        **extra,
    }
    return process_environment(context, own)


def application_variables(context: LaunchContext) -> dict[str, str]:
    """What every application finds in its environment, wherever it runs."""
    return {
        "PYTHONUNBUFFERED": "1",  # lines reach the log as they are written
        "DATAHARBOUR_RUN_ID": str(context.grant.run_id),
        "DATAHARBOUR_ATTEMPT_ID": str(context.grant.attempt_id),
        "DATAHARBOUR_LAKE": context.lake.uri,
    }


def marks_of(context: LaunchContext, service: str) -> dict[str, str]:
    """By these `harbour down` finds a process of the platform."""
    return {_PLATFORM: str(context.settings.home), _SERVICE: service}


def start_driver(
    context: LaunchContext,
    *,
    command: Sequence[str],
    environment: Mapping[str, str],
    session: ConnectSession | None = None,
    secrets: Sequence[str] = (),
    afterwards: Sequence[str] = (),
    event_logs: Path | None = None,
) -> str:
    """Start the supervisor and return its external id, ``host:pid:start``.

    Args:
        context: the attempt.
        command: argv of the child, ending in `child_arguments`.
        environment: all that the child gets.
        session: what to interrupt on a Connect server when the driver must end.
        secrets: more values that must never stand in a log.
        afterwards: argv of a program that ends what the child may have left elsewhere.
        event_logs: where Spark's event logs go at the end, which it leaves in `own_event_logs`.

    Raises:
        ConfigError: the drivers' database file is wrong.
    """
    keys = (context.lake.secret_key, context.lake.access_key)
    hidden = [*secrets_of(context), *in_urls_too([*secrets, *keys])]
    folder = attempt_folder(context)
    (folder / "work").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    if event_logs is not None:
        own_event_logs(folder).mkdir(mode=0o700)
    spec = DriverSpec(
        conninfo=context.driver_conninfo,
        run_id=str(context.grant.run_id),
        attempt_id=str(context.grant.attempt_id),
        token=context.grant.token,
        folder=str(folder),
        command=list(command),
        environment=dict(environment),
        timeout_s=context.request.timeout_s,
        secrets=hidden,
        session=session,
        afterwards=list(afterwards),
        event_logs="" if event_logs is None else str(event_logs),
        artifacts=str(context.settings.artifacts / str(context.grant.attempt_id)),
    )
    path = folder / "spec.json"
    spec.write(path)
    marks = marks_of(context, "driver")
    if session is not None:  # only such drivers are kept ready
        taker = hand_over(context.settings.home / "run" / "drivers", path)
        if taker is not None:
            return f"{socket.gethostname()}:{taker.pid}:{taker.ticks}"
    try:
        pid = _spawn([sys.executable, "-m", "dataharbour.jobs.driver", str(path)], folder, marks)
    except OSError:
        path.unlink()  # it holds secrets, and nobody will read it
        raise
    return f"{socket.gethostname()}:{pid}:{start_ticks(pid)}"


def driver_is_alive(external_id: str) -> bool | None:
    """Whether the supervisor of that id runs; None when it is no process of this machine."""
    place = _PROCESS.fullmatch(_process(external_id))
    if place is None or place["host"] != socket.gethostname():
        return None
    return is_running(int(place["pid"]), int(place["ticks"]))


def kill_driver(external_id: str) -> None:
    """Kill that supervisor, and with it its child; does nothing from another machine.

    Nor to one of another user: it is fenced off by now, and its lease is not renewed.
    """
    if driver_is_alive(external_id):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(int(_process(external_id).rsplit(":", 2)[1]), signal.SIGKILL)


def _process(external_id: str) -> str:
    """Of an id that also names a server (``host:pid:start@server``), the process."""
    return external_id.partition("@")[0]


def _spawn(argv: list[str], folder: Path, marks: Mapping[str, str]) -> int:
    """Start `argv` in its own session, its output in the attempt's folder."""
    log = str(folder / "supervisor.log")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        argv[0],
        argv,
        {**_inherited(), **marks},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigdef=list(range(1, 32)),
        setsigmask=[],
    )


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def _password(conninfo: str) -> str | None:
    try:
        password = conninfo_to_dict(conninfo).get("password")
    except ProgrammingError:
        # Without libpq's own words, which repeat what it could not read.
        raise ConfigError(
            "The drivers' database file holds no libpq connection string.",
            "Correct it: setting [dataharbour] driver_dsn_file; harbour up writes its own.",
        ) from None
    return str(password) if password else None


def secrets_of(context: LaunchContext) -> list[str]:
    """What must never stand in a log of this attempt: its token, and the database's password."""
    return in_urls_too([context.grant.token, _password(context.driver_conninfo)])


def in_urls_too(values: Iterable[str | None]) -> list[str]:
    """Those that there are, as they are and as they stand in a URL."""
    plain = [value for value in values if value]
    quoted = [form for value in plain for form in (quote(value), quote(value, safe=""))]
    return [*plain, *quoted]
