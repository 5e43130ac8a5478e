"""Check what an attempt staged, and make it the content of the run's tables.

May be repeated after a kill at any point.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from dataharbour.jobs.backends.launch import LakeEndpoint
from dataharbour.jobs.model import Run
from dataharbour.jobs.output import publish, read_record
from dataharbour.jobs.placeholders import output_root
from dataharbour.jobs.row_counts import count_rows
from dataharbour.jobs.store import RunStore
from dataharbour.quality.process import QualityProcess
from dataharbour.storage.open import open_store
from dataharbour.storage.store import ObjectStore


class Gate:
    """The expectations of a run, in a process that starts while the job still runs.

    Starting it early hides the seconds that Great Expectations takes to import.
    """

    def __init__(self, suite: str | None, *, lake: LakeEndpoint, include_dir: Path) -> None:
        self._suite = suite
        self._include_dir = include_dir
        self._process = None if suite is None else QualityProcess.start(environ=_access(lake))

    @classmethod
    def of(cls, run: Run, lake: LakeEndpoint, include_dir: Path) -> Self:
        """The gate of a run; one without expectations lets everything through."""
        return cls(run.expectations, lake=lake, include_dir=include_dir)

    def check(self, root: str) -> dict[str, Any] | None:
        """Evaluate the suite on the tables below `root`; once. None: there is no suite.

        Raises:
            QualityFailed: a rule is broken.
            QualityUnchecked: a rule could not be checked.
        """
        if self._suite is None or self._process is None:
            return None
        report = self._process.evaluate(self._suite, root=root, include_dir=self._include_dir)
        report.raise_unless_ok()
        return {
            "suite": report.suite,
            "verdict": str(report.verdict),
            "rules": len(report.rules),
            "duration_s": report.duration_s,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.close()


def finalize(
    store: RunStore, run: Run, attempt_id: UUID, *, lake: LakeEndpoint, gate: Gate, now: datetime
) -> dict[str, Any]:
    """Gate, count, publish.

    Returns:
        JSON values: `tables` (rows, files and bytes of each) and `quality` (the
        suite's verdict, or None where there is none).

    Raises:
        JobFailed: the staged outputs are not what was declared.
        QualityFailed, QualityUnchecked: they do not pass the gate.
        Conflict: the attempt may not publish any more.
        Unavailable: the store or the database does not answer.
    """
    if not run.outputs:
        return {"tables": {}, "quality": None}
    bucket = open_store(
        lake.uri,
        endpoint_url=lake.endpoint_url,
        access_key=lake.access_key,
        secret_key=lake.secret_key,
        region=lake.region,
    )
    root = output_root(lake.uri, attempt_id)
    if _is_published(bucket, run, attempt_id):  # killed after that: the staging may be gone
        quality = {"suite": run.expectations, "verdict": "passed"} if run.expectations else None
    else:
        quality = gate.check(root)
    rows = count_rows(lake, root, [output.table for output in run.outputs])
    with store.publishing(attempt_id) as check:
        published = publish(
            bucket, run.outputs, attempt_id=attempt_id, check=check, rows=rows, now=now
        )
    tables = {p.table: {"rows": p.rows, "files": p.files, "bytes": p.bytes} for p in published}
    return {"tables": tables, "quality": quality}


def _is_published(bucket: ObjectStore, run: Run, attempt_id: UUID) -> bool:
    records = [read_record(bucket, output.table) or {} for output in run.outputs]
    return all(record.get("attempt") == str(attempt_id) for record in records)


def _access(lake: LakeEndpoint) -> Mapping[str, str]:
    """The bucket's keys under AWS's names."""
    named = {
        "AWS_ENDPOINT_URL": lake.endpoint_url,
        "AWS_ACCESS_KEY_ID": lake.access_key,
        "AWS_SECRET_ACCESS_KEY": lake.secret_key,
        "AWS_REGION": lake.region,
        "AWS_DEFAULT_REGION": lake.region,
    }
    return {name: value for name, value in named.items() if value is not None}
