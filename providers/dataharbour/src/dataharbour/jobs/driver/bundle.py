"""Copy what a driver elsewhere needs of this package into a folder that its user can read.

A few small files: the package itself, with Airflow and all that, need not be there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ENTRY = Path("dataharbour/jobs/driver/cluster.py")

_PACKAGE = Path(__file__).parents[2]
_FILES = ("__init__.py", "jobs/__init__.py", "jobs/driver/*.py")


def write(folder: Path) -> Path:
    """Copy them below `folder`, readable by all; the file for spark-submit to run."""
    for pattern in _FILES:
        for source in sorted(_PACKAGE.glob(pattern)):
            target = folder / "dataharbour" / source.relative_to(_PACKAGE)
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_suffix(".new")
            shutil.copyfile(source, draft)
            draft.chmod(0o644)
            draft.replace(target)
    for made in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        made.chmod(0o755)
    return folder / ENTRY
