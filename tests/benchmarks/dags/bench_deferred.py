"""A run that waits in the triggerer, as many at once as are asked for."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from dataharbour.operators.spark_job import SparkJobOperator

with DAG(
    dag_id="bench_deferred",
    schedule=None,
    catchup=False,
    max_active_runs=200,
    max_active_tasks=200,
    params={"seconds": Param("300")},
):
    SparkJobOperator(
        task_id="run",
        application="bench_ticks.py",
        args=["{{ params.seconds }}"],
        in_place_s=0,
        pool="default_pool",
    )
