"""One task that does nothing: what remains is Airflow's own latency."""

from __future__ import annotations

from airflow.sdk import DAG, task

with DAG(dag_id="bench_empty", schedule=None, catchup=False):

    @task
    def nothing() -> None:
        """Do nothing."""

    nothing()
