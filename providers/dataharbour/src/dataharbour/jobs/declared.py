"""Read the declared jobs: include/jobs/<name>.yaml, each checked by `job_rules`.

The folders are those of `Settings.job_folders`. A file that is wrong takes away only its own
job. Files are read again when they change (size or time), so that parsing DAGs and answering
requests stay cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dataharbour.errors import DataHarbourError
from dataharbour.jobs.job_rules import check_name, invalid, spec_of
from dataharbour.jobs.job_spec import JobSpec
from dataharbour.jobs.table_owners import Owners

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class DeclaredJobs:
    """The jobs by name, and what is wrong with the files that are none."""

    jobs: Mapping[str, JobSpec] = field(default_factory=dict)
    errors: Mapping[str, DataHarbourError] = field(default_factory=dict)


_Stamp = tuple[int, int, int]
_cache: dict[Path, tuple[_Stamp, JobSpec | DataHarbourError]] = {}


def load_jobs(*folders: Path) -> DeclaredJobs:
    """All jobs declared in `folders`; reads only files that changed.

    Of two files of one name the one in the earlier folder holds.
    """
    jobs: dict[str, JobSpec] = {}
    errors: dict[str, DataHarbourError] = {}
    owners = Owners()
    files: dict[str, Path] = {}
    for folder in folders:
        files = {path.stem: path for path in folder.glob("*.yaml")} | files
    for _, path in sorted(files.items()):
        found = _cached(path)
        if isinstance(found, JobSpec) and (why := owners.why_not(found)):
            found = invalid(path, why)
        if isinstance(found, JobSpec):
            jobs[found.name] = found
            owners.take(found)
        else:
            errors[path.stem] = found
    return DeclaredJobs(jobs=jobs, errors=errors)


def _cached(path: Path) -> JobSpec | DataHarbourError:
    try:
        stat = path.stat()
    except OSError as error:
        return invalid(path, f"it cannot be read ({error.strerror})")
    stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    known = _cache.get(path)
    if known is None or known[0] != stamp:
        known = _cache[path] = (stamp, _read(path))
    return known[1]


def _read(path: Path) -> JobSpec | DataHarbourError:
    try:
        check_name(path.stem, path)
        return spec_of(path, _document(path))
    except DataHarbourError as error:
        return error


def _document(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(path, f"it cannot be read ({error})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise invalid(path, f"{where}{getattr(error, 'problem', None) or error}") from error
