"""Find a place for what other users must reach, where root's checkout is closed to them.

Started as root, PostgreSQL and Spark run as users of their own. A checkout below /root, or in
somebody's closed home, is no place for what they run and write; there, `.venv` and `.harbour` are
links to a folder below /var/lib. Does I/O.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from dataharbour.errors import PlatformError

SHELTER = Path("/var/lib/dataharbour")


def give_shelter(path: Path, *, shelter: Path = SHELTER) -> Path | None:
    """Make `path` a link to a new folder, where others could not reach it and root starts us.

    What is there already stays. The folder is named after the path, so that a checkout that was
    made again at its old place finds what belongs to it.

    Returns:
        The folder that the link was made to, or None where no link was needed.

    Raises:
        PlatformError: no folder could be made.
    """
    closed = closed_folder(path.parent)
    if os.geteuid() != 0 or os.path.lexists(path) or closed is None:
        return None
    digest = hashlib.sha256(os.fsencode(path.parent)).hexdigest()[:8]
    parent = shelter / f"{path.parent.name}-{digest}"
    target = parent / path.name.lstrip(".")
    try:
        for folder in (shelter, parent, target):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        path.symlink_to(target)
    except OSError as error:
        raise PlatformError(
            f"Started as root, PostgreSQL and Spark run as users of their own, which cannot enter "
            f"{closed}; and nothing could be put into {shelter} instead ({error.strerror}).",
            f"Move the checkout to e.g. /opt, or: chmod o+x {closed}",
        ) from error
    return target


def closed_folder(path: Path) -> Path | None:
    """The first folder on the way to `path` that not everybody may enter, or None."""
    real = Path(os.path.realpath(path))
    for folder in reversed([real, *real.parents]):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None
