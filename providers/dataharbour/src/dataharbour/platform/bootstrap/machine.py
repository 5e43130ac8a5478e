"""Look at the machine before anything is installed, and say what would stop it.

`observe` does I/O and changes nothing; `judge` decides.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dataharbour.platform.bootstrap import checks
from dataharbour.platform.bootstrap.checkout import Checkout, State
from dataharbour.platform.bootstrap.checks import DISK_BYTES, Check
from dataharbour.platform.bootstrap.wheels import Machine

OLDEST, NEWEST = (3, 11), (3, 13)  # what uv.lock is resolved for
OLDEST_GLIBC = "2.28"  # the highest that a package of the lock asks for; a test compares
INSTALL_BYTES = 4_200_000_000  # .venv 2.2 GB, uv's cache 2.0 GB more (measured, November 2026)
# What Airflow cannot do without, and thin or self-compiled Pythons lack.
_MODULES = ("bz2", "ctypes", "lzma", "sqlite3", "ssl", "zlib")


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen.

    Attributes:
        python: path of the running Python, not of the environment it may belong to.
        implementation: e.g. ``CPython``; ``CPython, free-threaded``.
        lacks: modules of the standard library that cannot be imported.
        system: kernel and word size, e.g. ``Linux, 64 bit``.
        machine: what wheels are chosen by.
        root: the checkout.
        state: what its `.venv` is.
        refusal: why nothing can be written or run there; empty if it can.
        free_bytes: space on the disk of the checkout.
        memory_bytes: memory that is available.
    """

    python: Path
    implementation: str
    lacks: tuple[str, ...]
    system: str
    machine: Machine
    root: Path
    state: State
    refusal: str
    free_bytes: int
    memory_bytes: int


def observe(checkout: Checkout) -> Facts:
    """Collect the facts."""
    venv = next(path for path in (checkout.venv, *checkout.venv.parents) if path.is_dir())
    place = os.statvfs(venv)
    return Facts(
        python=base_python(),
        implementation=platform.python_implementation()
        + (", free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""),
        lacks=tuple(name for name in _MODULES if not _can_import(name)),
        system=f"{platform.system()}, {64 if sys.maxsize > 2**32 else 32} bit",
        machine=this_machine(),
        root=checkout.root,
        state=checkout.state(),
        refusal=_refusal(venv, place),
        free_bytes=place.f_bavail * place.f_frsize,
        memory_bytes=checks.memory_bytes(),
    )


def judge(facts: Facts, unavailable: tuple[str, ...]) -> list[Check]:
    """All findings.

    Args:
        facts: what was seen.
        unavailable: packages that have no file for this machine.
    """
    is_new = facts.state in (State.MISSING, State.FOREIGN)
    return [
        _python(facts),
        _platform(facts, unavailable),
        _checkout(facts),
        checks.disk(
            facts.root,
            facts.free_bytes,
            # What was begun has taken its share of the disk already.
            needed_bytes=DISK_BYTES if is_new else INSTALL_BYTES,
            remedy="Free some space, or clone DataHarbour to another disk.",
        ),
        checks.memory(facts.memory_bytes),
    ]


def this_machine() -> Machine:
    """What wheels are chosen by, for the running Python."""
    try:
        library, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        library, version = "", ""
    numbers = version.split(".")
    return Machine(
        python=sys.version_info[:3],
        arch=platform.machine(),
        glibc=(int(numbers[0]), int(numbers[1])) if library == "glibc" else None,
    )


def marker_environment() -> Mapping[str, str]:
    """The variables of requirement markers, for the running Python."""
    return {
        "implementation_name": sys.implementation.name,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_system": platform.system(),
        "python_full_version": ".".join(map(str, sys.version_info[:3])),
        "python_version": ".".join(map(str, sys.version_info[:2])),
        "sys_platform": sys.platform,
    }


def base_python() -> Path:
    """The running Python; of a virtual environment, the one it was made from."""
    base: str = getattr(sys, "_base_executable", "")
    return Path(os.path.realpath(base if os.path.isfile(base) else sys.executable))


def _python(facts: Facts) -> Check:
    found = f"Python {'.'.join(map(str, facts.machine.python))} at {facts.python}"
    remedy = "Set HARBOUR_PYTHON to a Python 3.11, 3.12 or 3.13, e.g. HARBOUR_PYTHON=python3.12."
    if not OLDEST <= facts.machine.python[:2] <= NEWEST:
        return Check("python", False, f"{found} is not one of 3.11 to 3.13.", remedy)
    if facts.implementation != "CPython":
        return Check("python", False, f"{found} is {facts.implementation}, not CPython.", remedy)
    if facts.lacks:
        return Check(
            "python",
            False,
            f"{found} has no module {', '.join(facts.lacks)}.",
            f"Install the whole of it (Debian: apt install python3). {remedy}",
        )
    return Check("python", True, f"{found}.")


def _platform(facts: Facts, unavailable: tuple[str, ...]) -> Check:
    machine = facts.machine
    library = f"glibc {'.'.join(map(str, machine.glibc))}" if machine.glibc else "no glibc"
    here = f"{facts.system}, {machine.arch}, {library}"
    if facts.system == "Linux, 64 bit" and not unavailable:
        return Check("platform", True, f"{here}.")
    lacking = ""
    if unavailable:
        rest = f" and {len(unavailable) - 3} more" if len(unavailable) > 3 else ""
        lacking = f" There is nothing ready-made for it of {', '.join(unavailable[:3])}{rest}."
    return Check(
        "platform",
        False,
        f"This machine is not supported: {here}.{lacking}",
        f"Use 64-bit Linux on x86_64 or aarch64 with glibc {OLDEST_GLIBC} or newer (Debian 10, "
        "Ubuntu 20.04, RHEL 8 or later; not Alpine), also in a virtual machine or a container.",
    )


def _checkout(facts: Facts) -> Check:
    if facts.state is State.FOREIGN:
        return Check(
            "checkout",
            False,
            f"{facts.root}/.venv was not made by ./harbour, so it is left alone.",
            "Move it away or remove it; ./harbour makes its own.",
        )
    if facts.refusal:
        return Check(
            "checkout",
            False,
            f"Nothing can be installed in {facts.root}: {facts.refusal}.",
            "Clone DataHarbour into a folder of your own, on a disk that may be written to and "
            "run from.",
        )
    return Check("checkout", True, f"{facts.root} may be written to.")


def _can_import(module: str) -> bool:
    """Whether a module and the extension behind it are there; it is not kept loaded for that."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _refusal(folder: Path, place: os.statvfs_result) -> str:
    """Why nothing could be written to `folder` or run from it: found out by trying."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".harbour-"):
            pass
    except OSError as error:
        return f"{folder} cannot be written to ({error.strerror})"
    return "no programs may be run from that disk (noexec)" if place.f_flag & os.ST_NOEXEC else ""
