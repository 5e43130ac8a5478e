"""Look at the machine before anything is started: what would stop the platform, and the remedy.

Does I/O, changes nothing. The same checks are behind `up` (which stops at the first that fails and
is needed) and `doctor` (which shows all).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from dataharbour.errors import DataHarbourError, PlatformError
from dataharbour.platform import accounts
from dataharbour.platform.bootstrap.machine import Check
from dataharbour.platform.layout import Checkout, Home

DISK_GB = 10
MEMORY_GB = 4


def run(checkout: Checkout, home: Home, *, fresh: bool) -> list[Check]:
    """All checks. `fresh`: the platform holds no data yet, so it needs the whole disk space."""
    return [
        _python(),
        _writable(home),
        _disk(home, fresh=fresh),
        _memory(),
        *_accounts(home),
        _java(),
        *_jobs(checkout),
    ]


def insist(checks: list[Check]) -> None:
    """Raise the first needed check that failed.

    Raises:
        PlatformError: with the check's detail and remedy.
    """
    for check in checks:
        if check.needed and not check.ok:
            raise PlatformError(check.detail, check.remedy)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(
        "python",
        sys.version_info >= (3, 11),
        f"Python {version} at {sys.executable}.",
        "Install Python 3.11 or newer and remove .venv.",
    )


def _writable(home: Home) -> Check:
    folder = next(p for p in (home.root, *home.root.parents) if p.exists())
    ok = os.access(folder, os.W_OK | os.X_OK)
    return Check(
        "state-folder",
        ok,
        f"The state folder {home.root} {'is' if ok else 'is not'} writable.",
        "" if ok else "Set HARBOUR_HOME to a folder that you may write to.",
    )


def _disk(home: Home, *, fresh: bool) -> Check:
    folder = next(p for p in (home.root, *home.root.parents) if p.exists())
    free_gb = shutil.disk_usage(folder).free / 1e9
    needed_gb = DISK_GB if fresh else 1
    return Check(
        "disk",
        free_gb >= needed_gb,
        f"{free_gb:.1f} GB are free at {folder}; {needed_gb} GB are needed.",
        "" if free_gb >= needed_gb else "Free some space, or set HARBOUR_HOME to another disk.",
    )


def _memory() -> Check:
    available_gb = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available_gb = int(line.split()[1]) * 1024 / 1e9
    ok = available_gb >= MEMORY_GB
    return Check(
        "memory",
        ok,
        f"{available_gb:.1f} GB of memory are available; the platform uses up to {MEMORY_GB} GB.",
        "" if ok else "Stop something else; services may be killed for want of memory.",
        needed=False,
    )


def _accounts(home: Home) -> Iterator[Check]:
    if os.geteuid() != 0:
        yield Check(
            "spark-isolation",
            False,
            "Spark's server runs as your own user: whoever may submit jobs to it may read the "
            "platform's files.",
            "Let only trusted people submit jobs, or start the platform as root, which gives "
            "Spark a user of its own.",
            needed=False,
        )
        return
    try:
        owners = accounts.ensure()
    except PlatformError as error:
        yield Check("accounts", False, error.problem, error.remedy)
        return
    yield Check("accounts", True, f"System accounts {accounts.POSTGRES} and {accounts.SPARK}.")
    for account in filter(None, (owners.postgres, owners.spark)):
        for path in (home.root.parent, Path(sys.prefix)):
            closed = accounts.unreachable(account, path)
            if closed:
                yield Check(
                    "reachable",
                    False,
                    f"Started as root, PostgreSQL and Spark run as users of their own, which "
                    f"cannot enter {closed} on the way to {path}.",
                    f"Move the checkout to e.g. /opt, or: chmod o+x {closed}",
                )
                return


def _java() -> Check:
    from dataharbour.platform.java import find_java

    try:
        java = find_java()
    except DataHarbourError as error:
        return Check("java", False, error.problem, error.remedy)
    if java is None:
        return Check("java", True, "No Java 17 or newer on this machine; the packaged one is used.")
    return Check("java", True, f"Java at {java}.")


def _jobs(checkout: Checkout) -> Iterator[Check]:
    from dataharbour.jobs.declared import load_jobs

    declared = load_jobs(checkout.include)
    yield Check("jobs", True, f"{len(declared.jobs)} jobs are declared.", needed=False)
    for name, error in declared.errors.items():
        yield Check(f"job:{name}", False, error.problem, error.remedy, needed=False)
