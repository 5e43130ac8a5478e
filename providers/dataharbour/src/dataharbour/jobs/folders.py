"""Remove what old attempts have left on this machine: ``runs/<attempt>``, ``artifacts/<attempt>``.

In the first are the supervisor's and the driver's log (the database has the latter, too) and what
the application left in its working folder (a warehouse, files of its own). In the second is what
people are offered with the run.
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
from dataharbour.jobs.store import RunStore
from dataharbour.settings import Settings

KEPT_FOR = timedelta(days=7)  # a failure of Friday is still looked into on the next one
_FOR_EVER = 36_500  # days

log = logging.getLogger(__name__)


def remove_old_folders(store: RunStore, settings: Settings, *, now: datetime) -> int:
    """Remove the folders of attempts whose runs ended long ago; how many of ``runs`` there were.

    One in which a process still works stays, whatever the database says of its run.

    Args:
        store: says how the attempts' runs are.
        settings: where the folders are, and how long artifacts stay.
        now: aware UTC.
    """
    if settings.artifacts_days:
        stays = timedelta(days=min(settings.artifacts_days, _FOR_EVER))
        _remove_old(store, settings.artifacts, before=now - stays)
    return _remove_old(store, settings.runs, before=now - KEPT_FOR)


def _remove_old(store: RunStore, place: Path, *, before: datetime) -> int:
    old = dict(_old(place, before=before))
    over = store.long_over(list(old), before=before) if old else {}
    in_use = set(_folders_in_use()) if over else set()
    removed = 0
    for attempt_id, external_id in over.items():
        folder = old[attempt_id]
        is_used = folder.resolve() in in_use or (external_id and driver_is_alive(external_id))
        if not is_used:
            removed += _remove(folder)
    return removed


def _old(place: Path, *, before: datetime) -> Iterator[tuple[UUID, Path]]:
    """Folders of attempts that were made before a moment."""
    with suppress(FileNotFoundError), os.scandir(place) as entries:
        for entry in entries:
            with suppress(ValueError, OSError):  # not ours, or just gone
                attempt_id = UUID(entry.name)
                is_old = entry.stat(follow_symlinks=False).st_mtime < before.timestamp()
                if is_old and entry.is_dir(follow_symlinks=False):
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
        shutil.rmtree(folder)
    except OSError as error:
        log.warning("%s cannot be removed: %s", error.filename or folder, error.strerror)
        return False
    return True
