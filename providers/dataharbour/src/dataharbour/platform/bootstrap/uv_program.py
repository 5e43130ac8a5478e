"""Find the locked version of uv, or fetch its wheel from the index and unpack the program."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

from dataharbour.errors import PlatformError
from dataharbour.platform.bootstrap.checkout import Checkout
from dataharbour.platform.bootstrap.index import Link, PackageIndex
from dataharbour.platform.bootstrap.lock import Requirement, Selection
from dataharbour.platform.bootstrap.progress import Progress
from dataharbour.platform.bootstrap.wheels import Machine, fits


def uv_program(
    checkout: Checkout,
    selection: Selection,
    index: PackageIndex,
    machine: Machine,
    progress: Progress,
) -> Path:
    """A uv of the locked version: one that is here already, else the index's.

    Raises:
        PlatformError: the lock has none, or the index.
    """
    wanted = next((each for each in selection.files if each.name == "uv"), None)
    if wanted is None:
        raise PlatformError(
            "requirements.txt does not list uv, the installer.",
            "Restore the file: git checkout requirements.txt",
        )
    fetched, on_path = checkout.notes / "uv", shutil.which("uv")
    for program in (fetched, checkout.venv / "bin" / "uv", Path(on_path) if on_path else None):
        if program and _version(program) == wanted.version:
            return program
    wheel = _fetch(checkout.notes / "tmp", wanted, index, machine, progress)
    _unpack(wheel, fetched)
    return fetched


def save_uv(checkout: Checkout) -> None:
    """Keep the uv of an environment that is about to be made anew."""
    program = checkout.venv / "bin" / "uv"
    if checkout.notes.is_dir() and program.is_file():
        program.replace(checkout.notes / "uv")


def _version(program: Path) -> str:
    """The version a uv says it has; empty for what does not run."""
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    name, version, *_ = [*answer.stdout.split(), "", ""]
    return version if name == "uv" else ""


def _fetch(
    folder: Path, wanted: Requirement, index: PackageIndex, machine: Machine, progress: Progress
) -> Path:
    link = next((each for each in index.links("uv") if _is_wheel_of(each, wanted, machine)), None)
    if link is None:
        raise PlatformError(
            f"The package index has no uv {wanted.version} for this machine ({machine.arch}).",
            "Check that the mirror is complete (PIP_INDEX_URL, pip.conf).",
        )
    wheel = folder / link.name
    index.download(
        link,
        wheel,
        sha256=wanted.hashes,
        report=lambda done, total: progress.show("uv", done_bytes=done, total_bytes=total),
    )
    return wheel


def _is_wheel_of(link: Link, wanted: Requirement, machine: Machine) -> bool:
    return link.name.startswith(f"uv-{wanted.version}-") and fits(link.name, machine)


def _unpack(wheel: Path, target: Path) -> None:
    name = "-".join(wheel.name.split("-")[:2])
    fresh = target.with_suffix(".new")
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(f"{name}.data/scripts/uv") as packed,
        fresh.open("wb") as unpacked,
    ):
        shutil.copyfileobj(packed, unpacked)
    fresh.chmod(0o755)
    fresh.replace(target)
    wheel.unlink()
