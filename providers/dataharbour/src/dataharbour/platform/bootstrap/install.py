"""Make `.venv` what the lock says, with uv; whatever happens meanwhile, the next call ends it.

A note in `.venv` says that it is complete for a lock. It is taken back before the first change and
written after the last. Without the note the environment is made anew, from the downloads in uv's
cache: what an interrupted installer leaves behind is never trusted.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from dataharbour.errors import PlatformError
from dataharbour.platform.bootstrap.checkout import Checkout, State
from dataharbour.platform.bootstrap.filling import Filling
from dataharbour.platform.bootstrap.index import PackageIndex
from dataharbour.platform.bootstrap.lock import Selection
from dataharbour.platform.bootstrap.machine import INSTALL_BYTES
from dataharbour.platform.bootstrap.progress import Progress
from dataharbour.platform.bootstrap.sources import Sources
from dataharbour.platform.bootstrap.tls import has_system_certificates
from dataharbour.platform.bootstrap.uv import Uv
from dataharbour.platform.bootstrap.uv_environment import uv_environment
from dataharbour.platform.bootstrap.uv_program import save_uv, uv_program
from dataharbour.platform.bootstrap.wheels import Machine


def install(
    checkout: Checkout,
    selection: Selection,
    sources: Sources,
    machine: Machine,
    environ: Mapping[str, str],
    *,
    lock: int,
    progress: Progress,
) -> None:
    """Bring `.venv` in step with the lock.

    On failure a new environment is removed again, and one that was complete for an older lock is
    still that, if nothing in it was changed yet.

    Args:
        checkout: whose `.venv`.
        selection: the files for this machine.
        sources: where packages come from.
        machine: what wheels are chosen by.
        environ: the caller's variables.
        lock: file descriptor of the lock that other installers wait for.
        progress: what tells how far it is.

    Raises:
        PlatformError: it did not work, with the reason.
    """
    is_update = checkout.state() is State.OUTDATED
    try:
        if not is_update:
            save_uv(checkout)
            checkout.clear(keep=("uv", "cache"))
        _prepare_notes(checkout)
        index = PackageIndex(sources)
        program = uv_program(checkout, selection, index, machine, progress)
        variables = uv_environment(
            sources,
            environ,
            temporary=checkout.notes / "tmp",
            has_system_certificates=has_system_certificates(),
        )
        uv = Uv(program, variables, folder=checkout.root, lock=lock, progress=progress)
        _choose_cache(uv, checkout, environ)
        change = _update if is_update else _make
        change(Filling(uv, checkout, selection, sources, index))
    except (PlatformError, OSError):
        if is_update:
            _remove_leftovers(checkout)
        else:
            checkout.clear(keep=("cache",))
        raise
    _remove_leftovers(checkout)
    if os.geteuid() == 0:
        _let_others_read(checkout.venv)
    checkout.record()


def _prepare_notes(checkout: Checkout) -> None:
    for folder in (checkout.venv, checkout.notes, checkout.notes / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # services may run as other users, whatever the umask is


def _choose_cache(uv: Uv, checkout: Checkout, environ: Mapping[str, str]) -> None:
    """Use uv's usual cache; one inside `.venv` where that cannot be written or has no room."""
    told = bool(environ.get("UV_CACHE_DIR"))
    usual = uv.answer("cache", "dir")
    device = checkout.venv.stat().st_dev
    if not usual or not (told or _is_usable(Path(usual), device)):
        usual = str(checkout.notes / "cache")
        uv.set("UV_CACHE_DIR", usual)
    try:
        Path(usual).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(
            f"uv's cache {usual} cannot be made: {error.strerror}.",
            "Set UV_CACHE_DIR to a folder that you may write to.",
        ) from error
    if Path(usual).stat().st_dev != device:  # uv would try to link, and warn
        uv.default("UV_LINK_MODE", "copy")


def _is_usable(cache: Path, device: int) -> bool:
    folder = next(each for each in (cache, *cache.parents) if os.path.exists(each))
    place, owner = os.statvfs(folder), folder.stat()
    has_room = owner.st_dev == device or place.f_bavail * place.f_frsize >= INSTALL_BYTES
    # In another's home (sudo), files of ours would only be in the way; "/" means there is no home.
    is_ours = owner.st_uid == os.geteuid() and folder != Path("/")
    return has_room and is_ours and os.access(folder, os.W_OK | os.X_OK)


def _make(filling: Filling) -> None:
    filling.make_environment()
    filling.run()


def _update(filling: Filling) -> None:
    checkout = filling.checkout
    before, note = checkout.distributions(), checkout.withdraw()
    try:
        filling.run()
    except (PlatformError, OSError):
        if checkout.distributions() == before:
            checkout.restore(note)
        raise


def _let_others_read(folder: Path) -> None:
    """As `chmod -R a+rX`: started as root, the services run as other users."""
    for parent, _, names in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                continue
            wanted = mode | 0o444 | (0o111 if stat.S_ISDIR(mode) or mode & 0o111 else 0)
            if wanted != mode:
                os.chmod(path, stat.S_IMODE(wanted))


def _remove_leftovers(checkout: Checkout) -> None:
    (checkout.notes / "uv").unlink(missing_ok=True)
    for folder in ("cache", "tmp"):
        shutil.rmtree(checkout.notes / folder, ignore_errors=True)
