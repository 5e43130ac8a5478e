from __future__ import annotations

from datetime import UTC, datetime

from dataharbour.jobs.definitions import DefinitionStore
from dataharbour.operators.reconcile import ReconcileRunsOperator

JOB = {"description": "x", "application": "app.py", "backend": "local"}


def test_the_reconciliation_mends_the_files_of_stored_jobs(installation):
    folder = installation.root / "home" / "jobs"
    definitions = DefinitionStore(installation.connect, folder)
    now = datetime.now(UTC)
    definitions.put("stored", JOB, judge=lambda current: None, user="ada", now=now)
    text = (folder / "stored.yaml").read_text()
    (folder / "stored.yaml").unlink()
    operator = ReconcileRunsOperator(task_id="reconcile")
    assert operator.execute({}) == {"mend": ["stored"]}
    assert (folder / "stored.yaml").read_text() == text
    assert operator.execute({}) == {}
