"""Check what an attempt staged, and make it the content of the run's tables.

May be repeated after a kill at any point. The staging of an attempt is removed
when its outputs are published, and when it has ended otherwise (`discard`).
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from dataharbour.errors import DataHarbourError, Unavailable
from dataharbour.jobs.attempts import RightToPublish
from dataharbour.jobs.lake import LakeEndpoint, aws_variables, open_lake
from dataharbour.jobs.model import Run
from dataharbour.jobs.output import (
    discard_staging,
    publish,
    remove_outdated,
    shown,
    withdraw,
)
from dataharbour.jobs.placeholders import output_root
from dataharbour.jobs.publication import publisher_tag
from dataharbour.jobs.row_counts import count_rows
from dataharbour.jobs.store import RunStore
from dataharbour.quality.process import QualityProcess

log = logging.getLogger(__name__)


class Gate:
    """The expectations of a run, in a process that starts while the job still runs.

    Starting it early hides the seconds that Great Expectations takes to import.
    """

    def __init__(self, suite: str | None, *, lake: LakeEndpoint, include_dir: Path) -> None:
        self._suite = suite
        self._include_dir = include_dir
        self._process = None if suite is None else QualityProcess.start(environ=aws_variables(lake))

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

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.close()


def finalize(
    store: RunStore,
    run: Run,
    attempt_id: UUID,
    *,
    lake: LakeEndpoint,
    gate: Gate,
    may_retry: bool = True,
    now: datetime,
) -> dict[str, Any]:
    """Gate, count, publish; once: when that was done before, its result is returned.

    Old files that cannot be deleted now are a reason to come again, with `may_retry`; without, they
    stay until the next publication, beside what the records name.

    Returns:
        JSON values: `tables` (rows, files and bytes of each) and `quality` (the
        suite's verdict, or None where there is none).

    Raises:
        JobFailed: the staged outputs are not what was declared, or a table may not be published.
        QualityFailed, QualityUnchecked: they do not pass the gate.
        Conflict: the attempt may not publish any more.
        Unavailable: the store or the database does not answer, or somebody else is publishing.
    """
    if not run.outputs:
        return {"tables": {}, "quality": None}
    lake_store, tables = open_lake(lake), [output.table for output in run.outputs]
    with store.publishing(attempt_id) as right:
        result = right.result
        if result is None:
            quality, rows = _checked(run, attempt_id, lake=lake, gate=gate, right=right)
            right.take_tables(run.outputs)
            records = publish(
                lake_store,
                run.outputs,
                attempt_id=attempt_id,
                publication=right.publication,
                check=right,
                rows=rows,
                now=now,
            )
            facts = {
                table: {"rows": record.rows, "files": len(record.files), "bytes": record.bytes}
                for table, record in records.items()
            }
            result = {"tables": facts, "quality": quality}
            right.complete(result)
    with store.publishing(attempt_id) as right:  # not before that is committed
        right.take_tables(run.outputs)
        try:
            remove_outdated(lake_store, tables, attempt_id=attempt_id, check=right)
        except Unavailable as error:
            if may_retry:
                raise
            log.warning("Old files of %s stay: %s", ", ".join(tables), error.problem)
    discard(run, attempt_id, lake=lake)
    return result


def shown_tables(run: Run, attempt_id: UUID, *, lake: LakeEndpoint) -> list[str]:
    """The tables of a run whose content is what an attempt of it has published.

    Raises:
        Unavailable: the lake does not answer.
    """
    return shown(open_lake(lake), [output.table for output in run.outputs], attempt_id)


def discard(run: Run, attempt_id: UUID, *, lake: LakeEndpoint) -> None:
    """Remove what an attempt staged: it is published, or never will be.

    A run without declared outputs keeps its ``{output}``: that is where its user finds the result.
    How a run ends does not depend on this: what cannot be removed stays.
    """
    if not run.outputs:
        return
    try:
        discard_staging(open_lake(lake), attempt_id)
    except Unavailable as error:
        log.warning("The staging of attempt %s stays: %s", attempt_id, error.problem)


def _checked(
    run: Run, attempt_id: UUID, *, lake: LakeEndpoint, gate: Gate, right: RightToPublish
) -> tuple[dict[str, Any] | None, dict[str, int]]:
    """The verdict on what an attempt staged, and the rows of its tables.

    An earlier try may have been killed while it copied: what does not pass now leaves nothing.
    """
    root = output_root(lake.uri, attempt_id)
    tables = [output.table for output in run.outputs]
    try:
        return gate.check(root), count_rows(lake, root, tables)
    except Exception:
        with suppress(DataHarbourError):
            right()  # the gate may have taken longer than that lives
            withdraw(open_lake(lake), tables, publisher_tag(attempt_id))
        raise
