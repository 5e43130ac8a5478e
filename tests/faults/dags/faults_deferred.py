"""The probe as a task that defers at once: something is killed while the triggerer waits."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from dataharbour.operators.spark_job import SparkJobOperator

with DAG(
    dag_id="faults_deferred",
    schedule=None,
    catchup=False,
    params={"starts": Param(type="string"), "trial": Param(type="string"), "seconds": Param("1")},
):
    SparkJobOperator(
        task_id="run",
        application="faults_probe.py",
        args=[
            "{output}/gold/faults_deferred",
            "{{ params.starts }}",
            "{{ params.trial }}",
            "{{ params.seconds }}",
        ],
        outputs=["gold/faults_deferred"],
        retries=1,
        retry_delay=timedelta(seconds=1),
        in_place_s=1,
    )
