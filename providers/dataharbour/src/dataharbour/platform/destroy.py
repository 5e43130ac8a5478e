"""Delete a platform: its data, its secrets, everything in the state folder."""

from __future__ import annotations

import shutil

from dataharbour.errors import PlatformError
from dataharbour.platform.down import down
from dataharbour.platform.layout import Home
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
    down(home, report)
    report.waiting("state-folder", f"deleting {home.root}")
    shutil.rmtree(home.root)
    report.ready("state-folder", "deleted")
    return True
