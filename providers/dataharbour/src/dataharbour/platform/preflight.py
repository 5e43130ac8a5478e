"""Look at the machine before anything is started: what would stop the platform, and the remedy.

Does I/O, changes nothing. The same checks are behind `up` (which stops at the first that fails and
is needed) and `doctor` (which shows all).
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dataharbour.errors import DataHarbourError, PlatformError, Unavailable
from dataharbour.platform import accounts, jars, jupyter, ports
from dataharbour.platform.assemble import find_vault, keep_cluster
from dataharbour.platform.bootstrap import checks
from dataharbour.platform.bootstrap.checks import Check
from dataharbour.platform.java import NO_JAVA, NO_JAVA_REMEDY, find_java, packaged_java
from dataharbour.platform.layout import Checkout, Home
from dataharbour.platform.maven import read_maven

WITHOUT_JARS = "Without them the lake is a folder on this machine instead of S3."
JOB = "job:"  # how the ids of what is wrong with a job begin
_CLUSTER_BYTES = 2_300_000_000  # three daemons, a driver and an executor
_DISK_TO_GO_ON_BYTES = 3_000_000_000  # the stores take no writes below 2 GiB (minFreeSpace)


def run(checkout: Checkout, home: Home, *, fresh: bool, notebooks: bool = False) -> list[Check]:
    """All checks.

    Args:
        checkout: whose platform.
        home: its state folder.
        fresh: it holds no data yet, so it needs the whole disk space.
        notebooks: JupyterLab belongs to it.
    """
    return [
        _writable(home),
        _owner(home),
        _disk(home, fresh=fresh),
        *_vault(home),
        checks.memory(checks.memory_bytes()),
        *_accounts(checkout, home, notebooks=notebooks),
        *(_notebooks() if notebooks else ()),
        _java(),
        *_jobs(checkout, home),
    ]


def look_further(checkout: Checkout, home: Home) -> list[Check]:
    """What `up` would find out by itself; asks the network for the jars that are missing."""
    return [_ports(home), _jars(checkout, home), *_cluster(home)]


def _writable(home: Home) -> Check:
    folder = _nearest(home.root)
    ok = os.access(folder, os.W_OK | os.X_OK)
    return Check(
        "state-folder",
        ok,
        f"The state folder {home.root} {'is' if ok else 'is not'} writable.",
        "" if ok else "Set HARBOUR_HOME to a folder that you may write to.",
    )


def _owner(home: Home) -> Check:
    """A platform has one owner: another's files would keep it from starting."""
    owner = home.root.stat().st_uid if home.root.exists() else os.geteuid()
    ok = owner == os.geteuid()
    name = _user_name(owner)
    return Check(
        "owner",
        ok,
        f"The state folder {home.root} belongs to {name}.",
        "" if ok else f"Run harbour as {name}, or set HARBOUR_HOME to a folder of your own.",
    )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user with id {uid}"


def _disk(home: Home, *, fresh: bool) -> Check:
    folder = _nearest(home.root)
    return checks.disk(
        folder,
        shutil.disk_usage(folder).free,
        needed_bytes=checks.DISK_BYTES if fresh else _DISK_TO_GO_ON_BYTES,
        remedy="Free some space, or set HARBOUR_HOME to another disk.",
    )


def _vault(home: Home) -> Iterator[Check]:
    """The vault's folder, where that lies outside of the state folder."""
    try:
        data = find_vault(home)
    except PlatformError as error:
        yield Check("vault", False, error.problem, error.remedy)
        return
    except PermissionError:  # somebody else's platform, as `_owner` says
        return
    if data.is_relative_to(home.root):
        return
    folder = _nearest(data)
    ok = os.access(folder, os.W_OK | os.X_OK)
    yield Check(
        "vault",
        ok,
        f"The vault's folder {data} {'is' if ok else 'is not'} writable.",
        "" if ok else "Set HARBOUR_VAULT_DIR to a folder that you may write to.",
    )
    space = checks.disk(
        folder,
        shutil.disk_usage(folder).free,
        needed_bytes=_DISK_TO_GO_ON_BYTES,
        remedy="Free some space there.",
    )
    yield replace(space, id="vault-disk")


def _nearest(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())


def _accounts(checkout: Checkout, home: Home, *, notebooks: bool) -> Iterator[Check]:
    if os.geteuid() != 0:
        token = (
            "the Spark server's token or JupyterLab's" if notebooks else "the Spark server's token"
        )
        yield Check(
            "isolation",
            True,
            f"Everything runs as your own user: whoever has {token}, or may add an application, "
            "may do what you may.",
        )
        return
    if absent := accounts.unmakeable(notebooks=notebooks):
        yield Check(
            "accounts",
            False,
            f"The system accounts {' and '.join(absent)} are missing, and there is no useradd.",
            accounts.remedy_for(absent),
        )
        return
    yield Check(
        "isolation",
        True,
        f"PostgreSQL runs as {accounts.POSTGRES}, Spark's server as {accounts.SPARK}"
        + (f", JupyterLab as {accounts.NOTEBOOKS}" if notebooks else "")
        + "; DAGs and applications run as root, so whoever may add one"
        + (" (a notebook that is run as a job is one)" if notebooks else "")
        + " is trusted with the machine.",
    )
    owners = accounts.planned(notebooks=notebooks)
    # A state folder that is still to be made in the checkout is made where it can be reached.
    is_made = home.root.exists() or home.root != checkout.root / ".harbour"
    for account in filter(None, (owners.postgres, owners.spark, owners.notebooks)):
        for path in (*([home.root.parent] if is_made else []), Path(sys.prefix)):
            closed = accounts.unreachable(account, path)
            if closed:
                yield Check(
                    "reachable",
                    False,
                    f"Started as root, the services run as users of their own, which "
                    f"cannot enter {closed} on the way to {path}.",
                    f"Move the checkout to e.g. /opt, or: chmod o+x {closed}",
                )
                return


def _notebooks() -> Iterator[Check]:
    if not jupyter.is_installed():
        yield Check(
            "notebooks",
            False,
            "JupyterLab is not installed.",
            "./harbour up --notebooks installs it in a checkout; elsewhere: pip install "
            '"airflow-provider-dataharbour[platform,notebooks]".',
        )
    elif accounts.interpreter_for(accounts.planned(notebooks=True).notebooks) is None:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        yield Check(
            "notebooks",
            False,
            f"Started as root, JupyterLab runs as {accounts.NOTEBOOKS}, which cannot start "
            f"{sys.executable}.",
            f"Install the system's own {version} (apt install {version}), or start the platform "
            "as an ordinary user.",
        )
    else:
        yield Check("notebooks", True, "JupyterLab is installed.")


def _java() -> Check:
    is_usable = accounts.can_enter(accounts.planned().spark)
    if java := find_java(is_usable=is_usable) or packaged_java():
        return Check("java", True, f"Java at {java}.")
    return Check("java", False, NO_JAVA, NO_JAVA_REMEDY)


def _ports(home: Home) -> Check:
    is_new = not ports.load(home.run / "ports.json")
    taken = ports.choose(ports.PREFERRED, is_free=ports.is_free)[1] if is_new else {}
    found = "".join(f" Port {port} is taken; {name} gets another." for name, port in taken.items())
    return Check("ports", True, found.strip() or "The platform's ports are free, or its own.")


def _cluster(home: Home) -> Iterator[Check]:
    try:
        has_cluster = keep_cluster(home, None)
    except PermissionError:  # somebody else's platform, as `_owner` says
        return
    if not has_cluster:
        return
    available = checks.memory_bytes()
    ok = available >= _CLUSTER_BYTES
    yield Check(
        "spark-cluster",
        ok,
        "The platform has a Spark cluster: master, worker and history server (0.8 GB), and 1.3 GB "
        f"for each run on it; {available / 1e9:.1f} GB of memory are available. Whoever may run a "
        "job on it is trusted with it.",
        "" if ok else "Give it up: ./harbour up --no-cluster",
        needed=False,
    )


def _jars(checkout: Checkout, home: Home) -> Check:
    lacking = jars.missing(
        jars.read_lock(checkout.include / "spark" / "jars.lock"), home.spark / "jars"
    )
    if not lacking:
        return Check("jars", True, "Spark's S3 jars are here.")
    try:
        source = jars.probe(lacking[0], read_maven())
    except Unavailable as error:
        return Check("jars", False, error.problem, f"{error.remedy} {WITHOUT_JARS}", needed=False)
    return Check("jars", True, f"Spark's S3 jars can be had from {source}.")


def _jobs(checkout: Checkout, home: Home) -> Iterator[Check]:
    from dataharbour.jobs.applications import resolve_application
    from dataharbour.jobs.declared import load_jobs
    from dataharbour.quality.suites import load_suite

    declared = load_jobs(checkout.include / "jobs", home.jobs)
    errors = dict(declared.errors)
    for name, spec in declared.jobs.items():
        try:
            folders = [checkout.applications, home.applications]
            resolve_application(spec.application, folders, notebooks=home.notebooks)
            if spec.expectations is not None:
                load_suite(spec.expectations, include_dir=checkout.include)
        except DataHarbourError as problem:
            errors[name] = problem
    sound = len(declared.jobs.keys() - errors.keys())
    yield Check("jobs", True, f"{sound} jobs are declared and sound.", needed=False)
    for name, error in errors.items():
        yield Check(f"{JOB}{name}", False, error.problem, error.remedy, needed=False)
