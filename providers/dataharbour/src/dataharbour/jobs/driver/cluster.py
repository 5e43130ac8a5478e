"""`cluster.py`: supervise a driver that somebody else's program started.

For drivers on a cluster or in a container: spark-submit's Python application is this file
(``spark-submit … dataharbour/jobs/driver/cluster.py``), or the container's command is
``python …/cluster.py``. It takes no arguments: everything it needs is a `Carried` in its
environment (`carried`: how a backend packs it). What happens then:

1. The variables are taken out; this process hides its memory and environment from others
   of its user, and is told (SIGTERM) when the program that started it dies.
2. A folder ``attempt-<id>`` in the working folder gets the application.
3. `supervisor` does the rest as for every driver: claim, child, lease, log, end. The child is
   Python, in this process's environment: under spark-submit it finds the JVM through
   PYSPARK_GATEWAY_PORT as if that had started it.

Exit code: that of the application; 0 without a claim (another driver has the attempt).
Needed where it runs: Python 3.11, psycopg 3, pyspark, and this package or the copy of it that
`bundle.write` makes; the standard library alone until the claim.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataharbour.jobs.driver.carried import Carried
    from dataharbour.jobs.driver.spec import DriverSpec

ROOT = Path(__file__).resolve().parents[3]  # where `dataharbour` is imported from

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_GATEWAY = "PYSPARK_GATEWAY_PORT"
_STANDALONE_ID = re.compile(r"driver-[0-9]{14}-[0-9]+")  # the worker names the folder after it


def main(environ: MutableMapping[str, str] = os.environ) -> int:
    """Supervise the attempt that `environ` carries; the exit code of this process."""
    from dataharbour.jobs.driver.carried import Carried

    carried = Carried.take(environ)
    _hide()
    _end_with_parent(environ)

    from dataharbour.jobs.driver.supervisor import supervise

    return supervise(prepare(carried, environ, folder=Path.cwd()))


def prepare(carried: Carried, environ: MutableMapping[str, str], *, folder: Path) -> DriverSpec:
    """Make the attempt's folder below `folder`, and say what its supervisor shall do."""
    from dataharbour.jobs.driver.spec import DriverSpec

    place = folder / f"attempt-{carried.attempt_id}"
    for made in (place, place / "work", place / "application"):
        made.mkdir(mode=0o700)
    application = place / "application" / carried.application
    application.write_bytes(carried.source)
    token = token_urlsafe(32)
    environment = carried.variables(environ)
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{path}:{ROOT}" if path else str(ROOT)
    child = str(Path(__file__).with_name("child.py"))
    return DriverSpec(
        conninfo=carried.conninfo,
        run_id=carried.run_id,
        attempt_id=carried.attempt_id,
        token=token,
        ticket=carried.ticket,
        external_id=folder.name if _STANDALONE_ID.fullmatch(folder.name) else None,
        folder=str(place),
        command=[
            sys.executable,
            child,
            str(place),
            carried.sha256,
            str(application),
            *carried.args,
        ],
        environment=environment,
        timeout_s=carried.timeout_s,
        secrets=[*carried.secrets, carried.ticket, token, *_keys(environment)],
        app_prefix=carried.app_prefix,
    )


def _keys(environment: Mapping[str, str]) -> list[str]:
    """The lake's keys that the application has here, as they are and as they stand in a URL."""
    from urllib.parse import quote

    keys = [environment[name] for name in _KEYS if environment.get(name)]
    return [form for key in keys for form in (key, quote(key), quote(key, safe=""))]


def _hide() -> None:
    """Close /proc/self to other processes of this user: the memory, the environment, the files."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


def _end_with_parent(environ: MutableMapping[str, str]) -> None:
    """Get SIGTERM when the program that started us dies: a killed driver leaves nothing running."""
    from dataharbour.jobs.driver.parent import started_by_java

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if _GATEWAY in environ and not started_by_java():  # it has died before
        sys.exit(70)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # not this folder, whose modules have names of others
    sys.exit(main())
