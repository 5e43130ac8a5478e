"""The operating system's users of the services, when the platform is started as root.

PostgreSQL refuses to run as root, and whoever may run code on the Spark Connect server or in
JupyterLab may read what its user may read; so each gets a system account of its own. An ordinary
user runs everything as itself.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataharbour.errors import PlatformError
from dataharbour.postgres.cluster import Account

POSTGRES = "harbour-pg"
SPARK = "harbour-spark"
NOTEBOOKS = "harbour-nb"
_STRANGER = Account(uid=2**31 - 2, gid=2**31 - 2)  # owns nothing


@dataclass(frozen=True, slots=True)
class Accounts:
    """Who runs what; None means the user who started the platform."""

    postgres: Account | None = None
    spark: Account | None = None
    notebooks: Account | None = None


def planned(*, notebooks: bool = False) -> Accounts:
    """The accounts that `ensure` will give; one that is still to be made is a stranger to all."""
    return _accounts(lambda name: _lookup(name) or _STRANGER, notebooks=notebooks)


def ensure(*, notebooks: bool = False) -> Accounts:
    """The accounts to use, made where they are missing (root only).

    Args:
        notebooks: whether JupyterLab needs one.

    Raises:
        PlatformError: an account is missing and cannot be made.
    """
    return _accounts(_ensure, notebooks=notebooks)


def unmakeable(*, notebooks: bool = False) -> list[str]:
    """Names of the accounts that are missing and cannot be made (root only)."""
    if os.geteuid() != 0 or _useradd():
        return []
    names = (POSTGRES, SPARK, *([NOTEBOOKS] if notebooks else []))
    return [name for name in names if _lookup(name) is None]


def _accounts(find: Callable[[str], Account], *, notebooks: bool) -> Accounts:
    if os.geteuid() != 0:
        return Accounts()
    return Accounts(find(POSTGRES), find(SPARK), find(NOTEBOOKS) if notebooks else None)


def unreachable(account: Account, path: Path) -> Path | None:
    """The first folder on the way to `path` that `account` may not enter, or None."""
    real = Path(os.path.realpath(path))
    for folder in reversed([real, *real.parents]):
        if folder.is_dir() and not _may_enter(account, folder):
            return folder
    return None


def can_enter(account: Account | None) -> Callable[[Path], bool]:
    """Whether `account` may go to a folder; None, the user who started us, may."""
    return lambda path: account is None or unreachable(account, path) is None


def python_for(account: Account | None) -> dict[str, str]:
    """The variables by which Spark's server starts Python for user-defined functions.

    Our own interpreter; where `account` cannot reach that (a version manager below /root), the
    system's of the same version, with our packages.
    """
    program, variables = interpreter_for(account) or (Path(sys.executable), {})
    return {"PYSPARK_PYTHON": str(program), **variables}


def interpreter_for(account: Account | None) -> tuple[Path, dict[str, str]] | None:
    """A Python that `account` can start, with the variables that give it our packages; or None."""
    may_enter = can_enter(account)
    if may_enter(Path(sys.executable)):
        return Path(sys.executable), {}
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for folder in ("/usr/bin", "/usr/local/bin"):
        program = Path(folder) / name
        if program.exists() and may_enter(program):
            return program, {"PYTHONPATH": sysconfig.get_path("purelib")}
    return None


def _may_enter(account: Account, folder: Path) -> bool:
    status = folder.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == account.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def _lookup(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _ensure(name: str) -> Account:
    account = _lookup(name)
    if account is None:
        _make(name)
        account = _lookup(name)
    if account is None:
        raise PlatformError(
            f"The system account {name} is missing and could not be made.", remedy_for([name])
        )
    return account


def remedy_for(names: Sequence[str]) -> str:
    """What to do where accounts cannot be made."""
    commands = " && ".join(f"useradd --system --user-group {name}" for name in names)
    return f"Make it ({commands}), or start as an ordinary user."


def _useradd() -> str | None:
    return shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")


def _make(name: str) -> None:
    program = _useradd()
    if program is None:
        return
    subprocess.run(
        [program, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
         "--shell", "/usr/sbin/nologin", "--comment", "DataHarbour", name],
        check=False,
        capture_output=True,
    )  # fmt: skip
