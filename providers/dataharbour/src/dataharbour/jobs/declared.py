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

from dataharbour.errors import DataHarbourError, JobInvalid
from dataharbour.jobs.job_rules import check_name, invalid, spec_of
from dataharbour.jobs.job_spec import JobSpec
from dataharbour.jobs.table_owners import contested

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class DeclaredJobs:
    """The jobs by name, and what is wrong with the files that are none.

    Attributes:
        jobs: that can run.
        errors: by the name of the file.
        contested: jobs of `errors` whose only fault is that another one declares a table of them.
    """

    jobs: Mapping[str, JobSpec] = field(default_factory=dict)
    errors: Mapping[str, DataHarbourError] = field(default_factory=dict)
    contested: Mapping[str, JobSpec] = field(default_factory=dict)


_Stamp = tuple[int, int, int]
_cache: dict[Path, tuple[_Stamp, JobSpec | DataHarbourError]] = {}


def load_jobs(*folders: Path) -> DeclaredJobs:
    """All jobs declared in `folders`; reads only files that changed.

    Of two files of one name the one in the earlier folder holds. Jobs that declare the same table
    are all refused, until one gives it up.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        files = {path.stem: path for path in folder.glob("*.yaml")} | files
    found = {name: _cached(path) for name, path in sorted(files.items())}
    errors = {name: one for name, one in found.items() if isinstance(one, DataHarbourError)}
    sound = {name: one for name, one in found.items() if isinstance(one, JobSpec)}
    faults = contested(sound.values())
    remedy = "A table is one job's alone: write into another one, or remove one of the two files."
    for name, why in faults.items():
        errors[name] = JobInvalid(f"{files[name]}: {why}.", remedy)
    return DeclaredJobs(
        jobs={name: spec for name, spec in sound.items() if name not in faults},
        errors=errors,
        contested={name: sound[name] for name in faults},
    )


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
