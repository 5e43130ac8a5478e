from __future__ import annotations

import time
from datetime import timedelta
from uuid import UUID

import pytest

from dataharbour.errors import Unavailable
from dataharbour.jobs.backends.start import driver_is_alive
from dataharbour.operators.reconcile import ReconcileRunsOperator


def test_it_removes_what_old_attempts_have_left_on_this_machine(installation, run_dag, monkeypatch):
    done = run_dag("spark_job", application=installation.application(""), backend="local")
    [attempt] = installation.store().attempts(UUID(done.xcom["run_id"]))
    while driver_is_alive(attempt.external_id):
        time.sleep(0.05)
    runs = installation.root / "home" / "runs"
    operator = ReconcileRunsOperator(task_id="reconcile")
    operator.execute({})
    assert len(list(runs.iterdir())) == 1
    monkeypatch.setattr("dataharbour.jobs.folders.KEPT_FOR", timedelta(0))
    operator.execute({})
    assert list(runs.iterdir()) == []


def test_a_part_that_fails_does_not_keep_the_others_from_their_work(installation, monkeypatch):
    done = []

    def away(*_, **__):
        raise Unavailable("The database is away.", "-")

    def removed(*_, **__):
        done.append("removed")
        return 1

    monkeypatch.setattr("dataharbour.jobs.reconcile.reconcile", away)
    monkeypatch.setattr("dataharbour.jobs.folders.remove_old_folders", removed)
    monkeypatch.setattr("dataharbour.jobs.staging.remove_left_staging", removed)
    with pytest.raises(Unavailable, match="database is away"):
        ReconcileRunsOperator(task_id="reconcile").execute({})
    assert done == ["removed", "removed"]
