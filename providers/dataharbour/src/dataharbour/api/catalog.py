"""Join the declared jobs (files) and the stored ones (database): where does each job come from?

The database is the truth about stored jobs. Where their files do not say the same (a file was
lost, or somebody wrote into it) they are mended first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from dataharbour.jobs.declared import DeclaredJobs
from dataharbour.jobs.definitions import Definition, DefinitionStore
from dataharbour.settings import Settings


@dataclass(frozen=True)
class JobOrigin:
    """Where a job comes from; the fields of `schemas.jobs.JobDetail` that tell it."""

    source: Literal["git", "api", "local"]
    version: int | None
    etag: str
    changed_by: str | None
    changed_at: datetime | None
    definition: dict[str, Any] | None


@dataclass(frozen=True)
class Catalog:
    """The jobs of this moment."""

    declared: DeclaredJobs
    stored: Mapping[str, Definition]
    settings: Settings

    @property
    def names(self) -> list[str]:
        """All names, in order."""
        return sorted({*self.declared.jobs, *self.declared.errors})

    def origin(self, name: str) -> JobOrigin:
        """Where the job of this name comes from."""
        if self.file_in_git(name) is None and name in self.stored:
            return stored_origin(self.stored[name])
        spec = self.declared.jobs.get(name)
        document = None if spec is None else json.loads(json.dumps(spec.document, default=str))
        return JobOrigin(
            source="local" if self.file_in_git(name) is None else "git",
            version=None,
            etag=_etag_of_file(document, self.declared.errors.get(name)),
            changed_by=None,
            changed_at=None,
            definition=document,
        )

    def file_in_git(self, name: str) -> Path | None:
        """The file under version control that declares a job."""
        return _existing(self.settings.include_dir / "jobs" / f"{name}.yaml")


def read_catalog(
    load: Callable[[], DeclaredJobs], definitions: DefinitionStore, settings: Settings
) -> Catalog:
    """The jobs of this moment.

    Raises:
        Unavailable: the database did not answer, or a lost mirror cannot be written.
    """
    stored = definitions.all()
    catalog = Catalog(load(), stored, settings)
    if any(_differs(catalog, each) for each in stored.values()):
        definitions.repair()
        catalog = Catalog(load(), definitions.all(), settings)
    return catalog


def stored_origin(definition: Definition) -> JobOrigin:
    """The origin of a stored job."""
    return JobOrigin(
        source="api",
        version=definition.version,
        etag=etag_of(definition),
        changed_by=definition.changed_by,
        changed_at=definition.changed_at,
        definition=dict(definition.document),
    )


def etag_of(definition: Definition) -> str:
    """The version of a stored job, as an entity tag."""
    return f'"{definition.version}"'


def _differs(catalog: Catalog, stored: Definition) -> bool:
    """Whether the mirror of a stored job does not say what is stored."""
    if catalog.file_in_git(stored.name) is not None:
        return False  # the mirror is not read
    spec = catalog.declared.jobs.get(stored.name)
    if spec is None:  # lost, or broken beside the other jobs
        return stored.name not in catalog.declared.errors
    return spec.document != stored.document


def _etag_of_file(document: Any, error: Exception | None) -> str:
    text = json.dumps([document, str(error or "")], sort_keys=True, default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'


def _existing(path: Path) -> Path | None:
    try:
        return path if path.exists() else None
    except (OSError, ValueError):  # no name of a file
        return None
