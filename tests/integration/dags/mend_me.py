"""Three Spark tasks, two of them mapped, and one that depends on them; see ../test_repair.py."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from dataharbour.operators.spark_job import SparkJobOperator

WANTED = "{{ var.value.get('mend_me', '--no-such-argument') }}"

with DAG(dag_id="mend_me", schedule=None, catchup=False):
    # `--help` makes the shipped application end well at once.
    first = SparkJobOperator(
        task_id="first", application="flights_delays.py", args=["--help"], backend="local"
    )
    each = SparkJobOperator.partial(
        task_id="each", application="flights_delays.py", backend="local"
    ).expand(args=[["--help"], [WANTED]])
    first >> each >> EmptyOperator(task_id="last")
