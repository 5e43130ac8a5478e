from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from dataharbour.errors import Unavailable
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


def test_a_stored_job_is_a_dag_and_runs(installation, run_dag):
    installation.application("import sys\nprint('hello', *sys.argv[1:])")
    definitions = DefinitionStore(installation.connect, installation.root / "home" / "jobs")
    document = {
        **JOB,
        "args": ["{params.who}"],
        "params": {"who": {"type": "string", "default": "you"}},
    }
    now = datetime.now(UTC)
    definitions.put("stored", document, judge=lambda current: None, user="ada", now=now)
    done = run_dag("job__stored", who="ada")
    assert (done.state, done.xcom["state"]) == ("success", "SUCCEEDED")
    store = installation.store()
    [line] = store.logs(UUID(done.xcom["run_id"])).items
    assert line.line == "hello ada"


def test_the_files_are_mended_though_a_run_cannot_be_looked_after(installation, monkeypatch):
    definitions = DefinitionStore(installation.connect, installation.root / "home" / "jobs")
    now = datetime.now(UTC)
    definitions.put("stored", JOB, judge=lambda current: None, user="ada", now=now)
    file = installation.root / "home" / "jobs" / "stored.yaml"
    file.unlink()

    def reconcile(*_, **__):
        raise Unavailable("1 runs could not be looked after: 7.", "The log has the cause.")

    monkeypatch.setattr("dataharbour.jobs.reconcile.reconcile", reconcile)
    with pytest.raises(Unavailable, match="7"):
        ReconcileRunsOperator(task_id="reconcile").execute({})
    assert file.exists()


def test_its_dag_says_where_its_file_is(installation):
    from dataharbour.dag_factory import job_dags

    definitions = DefinitionStore(installation.connect, installation.root / "home" / "jobs")
    now = datetime.now(UTC)
    definitions.put("stored", JOB, judge=lambda current: None, user="ada", now=now)
    installation.job("written")
    docs = {name: dag.doc_md for name, dag in job_dags().items()}
    assert "Declared in `jobs/stored.yaml` of the state folder." in docs["job__stored"]
    assert "Declared in `jobs/written.yaml` of the include folder." in docs["job__written"]
