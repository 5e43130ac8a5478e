"""Remove what old attempts have left on this machine: their folders, ``runs/<attempt>``.

In such a folder are the supervisor's and the driver's log (the database has the latter, too),
what the application left in its working folder (a warehouse, files of its own), and `artifacts`.
Those are offered with the run, so they stay as long as it does; all else goes.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from dataharbour.jobs.backends.start import driver_is_alive
from dataharbour.jobs.driver.artifacts import FOLDER as ARTIFACTS
from dataharbour.jobs.store import RunStore

KEPT_FOR = timedelta(days=7)  # a failure of Friday is still looked into on the next one

log = logging.getLogger(__name__)


def remove_old_folders(store: RunStore, runs: Path, *, now: datetime) -> int:
    """Remove the folders of attempts whose runs ended long ago; the number of them.

    One in which a process still works stays, whatever the database says of its run.

    Args:
        store: says how the attempts' runs are.
        runs: where the folders are.
        now: aware UTC.
    """
    before = now - KEPT_FOR
    old = dict(_old(runs, before=before))
    over = store.long_over(list(old), before=before) if old else {}
    in_use = set(_folders_in_use()) if over else set()
    removed = 0
    for attempt_id, external_id in over.items():
        folder = old[attempt_id]
        is_used = folder.resolve() in in_use or (external_id and driver_is_alive(external_id))
        if not is_used:
            removed += _remove(folder)
    return removed


def _old(runs: Path, *, before: datetime) -> Iterator[tuple[UUID, Path]]:
    """Folders of attempts that were made before a moment, and hold more than artifacts."""
    with suppress(FileNotFoundError), os.scandir(runs) as entries:
        for entry in entries:
            with suppress(ValueError, OSError):  # not ours, or just gone
                attempt_id = UUID(entry.name)
                is_old = entry.stat(follow_symlinks=False).st_mtime < before.timestamp()
                is_folder = entry.is_dir(follow_symlinks=False)
                if is_old and is_folder and os.listdir(entry) != [ARTIFACTS]:
                    yield attempt_id, Path(entry.path)


def _folders_in_use() -> Iterator[Path]:
    """In which folders the processes of this machine work, as far as one may see."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(OSError):
                folder = Path(os.readlink(process / "cwd"))
                yield from (folder, *folder.parents)


def _remove(folder: Path) -> bool:
    """Whether that could be done."""
    try:
        for path in folder.iterdir():
            if path.name == ARTIFACTS:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        if not (folder / ARTIFACTS).exists():
            folder.rmdir()
    except OSError as error:
        log.warning("%s cannot be removed: %s", error.filename or folder, error.strerror)
        return False
    return True
