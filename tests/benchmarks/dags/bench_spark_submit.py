"""The flights job by the apache-spark provider's operator: what a user would use instead."""

from __future__ import annotations

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG, Param

with DAG(
    dag_id="bench_spark_submit",
    schedule=None,
    catchup=False,
    params={name: Param("", type="string") for name in ("application", "raw", "output", "java")},
):
    SparkSubmitOperator(
        task_id="submit",
        conn_id="bench_spark",
        application="{{ params.application }}",
        application_args=["--raw", "{{ params.raw }}", "--output", "{{ params.output }}"],
        env_vars={"JAVA_HOME": "{{ params.java }}"},
        deploy_mode="client",
    )
