"""Hand the event logs that Spark left in an attempt's folder to the history server.

A run's driver may be another user than the history server. Spark makes its logs writable for their
group, so a log that both could reach while it is written would be a way from the one to the other:
it is written where the driver's user alone may go, and handed over when nobody writes any more.
"""

from __future__ import annotations

import os
from pathlib import Path


def hand_over(folder: Path, to: Path) -> None:
    """Move the logs in `folder` into `to`, as property of that folder's owner.

    Raises:
        OSError: `to` is gone, full, or somebody else's.
    """
    owner = to.stat()
    for log in sorted(folder.glob("eventlog_v2_*")):
        if log.is_symlink() or not log.is_dir():
            continue
        if owner.st_uid != os.geteuid():
            for parent, _, files in os.walk(log):
                for path in (parent, *(os.path.join(parent, name) for name in files)):
                    os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        # A name that is taken there is an error: a folder takes the place of an empty one only.
        log.rename(to / log.name)
    folder.rmdir()
