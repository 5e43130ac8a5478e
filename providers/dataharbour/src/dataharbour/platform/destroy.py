"""Delete a platform: its data, its secrets, everything in the state folder."""

from __future__ import annotations

import contextlib
import shutil

from dataharbour.errors import PlatformError
from dataharbour.platform.assemble import find_vault
from dataharbour.platform.down import stop_all
from dataharbour.platform.layout import Home
from dataharbour.platform.lock import exclusive, lock_file
from dataharbour.platform.report import Report

# What a state folder is recognised by: `rm -r` of a mistyped $HARBOUR_HOME must not happen.
_MARKS = ("config", "secrets", "run")


def destroy(home: Home, report: Report) -> bool:
    """Stop the platform and delete its state folder. Returns False when there was none.

    Raises:
        PlatformError: the folder does not look like a state folder.
    """
    if not home.root.is_dir() or not any(home.root.iterdir()):
        return False
    if not all((home.root / mark).is_dir() for mark in _MARKS):
        raise PlatformError(
            f"{home.root} does not look like a state folder of DataHarbour; nothing was deleted.",
            "Check HARBOUR_HOME.",
        )
    with exclusive(home):
        vault = find_vault(home, {})
        stop_all(home, report)
        report.waiting("state-folder", f"deleting {home.root}")
        _delete(home)
    report.ready("state-folder", "deleted")
    if vault.exists():
        report.say(f"The vault's data stays in {vault}, which is outside of the state folder.")
    return True


def _delete(home: Home) -> None:
    """The lock goes last, so that no `up` begins in what is being deleted."""
    lock = lock_file(home)
    for entry in home.root.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != lock:
            entry.unlink()
    lock.unlink()
    with contextlib.suppress(OSError):  # a mount point; or an `up` that has waited for this
        home.root.rmdir()
