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

from dataharbour.platform import accounts
from dataharbour.platform.bootstrap import checks
from dataharbour.platform.bootstrap.checks import Check
from dataharbour.platform.java import NO_JAVA, NO_JAVA_REMEDY, find_java, packaged_java
from dataharbour.platform.layout import Checkout, Home

_DISK_TO_GO_ON_BYTES = 1_000_000_000


def run(checkout: Checkout, home: Home, *, fresh: bool) -> list[Check]:
    """All checks. `fresh`: the platform holds no data yet, so it needs the whole disk space."""
    return [
        _python(),
        _writable(home),
        _disk(home, fresh=fresh),
        checks.memory(checks.memory_bytes()),
        *_accounts(checkout, home),
        _java(),
        *_jobs(checkout),
    ]


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
    return checks.disk(
        folder,
        shutil.disk_usage(folder).free,
        needed_bytes=checks.DISK_BYTES if fresh else _DISK_TO_GO_ON_BYTES,
        remedy="Free some space, or set HARBOUR_HOME to another disk.",
    )


def _accounts(checkout: Checkout, home: Home) -> Iterator[Check]:
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
    if absent := accounts.unmakeable():
        yield Check(
            "accounts",
            False,
            f"The system accounts {' and '.join(absent)} are missing, and there is no useradd.",
            accounts.remedy_for(absent),
        )
        return
    yield Check(
        "accounts",
        True,
        f"PostgreSQL runs as {accounts.POSTGRES}, Spark as {accounts.SPARK}.",
    )
    owners = accounts.planned()
    # A state folder that is still to be made in the checkout is made where it can be reached.
    is_made = home.root.exists() or home.root != checkout.root / ".harbour"
    for account in filter(None, (owners.postgres, owners.spark)):
        for path in (*([home.root.parent] if is_made else []), Path(sys.prefix)):
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
    is_usable = accounts.can_enter(accounts.planned().spark)
    if java := find_java(is_usable=is_usable) or packaged_java():
        return Check("java", True, f"Java at {java}.")
    return Check("java", False, NO_JAVA, NO_JAVA_REMEDY)


def _jobs(checkout: Checkout) -> Iterator[Check]:
    from dataharbour.jobs.declared import load_jobs

    declared = load_jobs(checkout.include)
    yield Check("jobs", True, f"{len(declared.jobs)} jobs are declared.", needed=False)
    for name, error in declared.errors.items():
        yield Check(f"job:{name}", False, error.problem, error.remedy, needed=False)
