"""End the runs that nobody comes to any more.

A run is carried to its end by its task. Where the task ended without it (its last try was killed,
somebody marked it while its worker was gone, its DAG run was deleted), this DAG stops the driver
and closes the run, so that none stays open for ever.

Runbook: docs/runbooks/run_reconciliation.md
"""

from __future__ import annotations

from airflow.sdk import DAG

from dataharbour.operators.reconcile import ReconcileRunsOperator

with DAG(
    dag_id="run_reconciliation",
    description="End the runs that nobody comes to any more",
    schedule="*/5 * * * *",
    catchup=False,
    max_active_runs=1,
    tags=["dataharbour", "job"],
    doc_md=__doc__,
):
    ReconcileRunsOperator(task_id="reconcile")
