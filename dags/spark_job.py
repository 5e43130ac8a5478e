"""Run any Spark application once, from the form, the API or the command line.

The application is a Python file below the allowed application folders. It runs
on the chosen backend, its log appears in this task's log, and the run has a
page of its own: the link *Run* of the task.

Runbook: docs/runbooks/spark_job.md
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from dataharbour.dag_factory import one_off_params
from dataharbour.operators.spark_job import SparkJobOperator

with DAG(
    dag_id="spark_job",
    description="Run any Spark application once",
    schedule=None,
    catchup=False,
    params=one_off_params(),
    tags=["dataharbour", "job"],
    doc_md=__doc__,
):
    SparkJobOperator(task_id="run", retry_delay=timedelta(seconds=10), pool="spark_drivers")
