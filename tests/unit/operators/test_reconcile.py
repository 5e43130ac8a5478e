from __future__ import annotations

from datetime import timedelta

from dataharbour.operators.reconcile import ReconcileRunsOperator


def test_it_removes_what_old_attempts_have_left_on_this_machine(installation, run_dag, monkeypatch):
    run_dag("spark_job", application=installation.application(""), backend="local")
    runs = installation.root / "home" / "runs"
    operator = ReconcileRunsOperator(task_id="reconcile")
    operator.execute({})
    assert len(list(runs.iterdir())) == 1
    monkeypatch.setattr("dataharbour.jobs.folders.KEPT_FOR", timedelta(0))
    operator.execute({})
    assert list(runs.iterdir()) == []
