"""The names of the platform's services, and the orders in which people see and stop them."""

from __future__ import annotations

AIRFLOW_COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
CLUSTER = ("spark_master", "spark_worker", "spark_history")  # with `up --cluster`
# Who stops first: Airflow's tasks report to the API server, which needs the stores and PostgreSQL.
STOP_ORDER: tuple[tuple[str, ...], ...] = (
    ("scheduler", "spark_keeper", "notebooks"),
    ("dag-processor", "triggerer"),
    ("api-server", "spark", "spark_standby", "spark_worker", "spark_history"),
    ("spark_master",),
    ("object_store", "vault"),
    ("postgres",),
)
SHOWN = (
    "postgres", "object_store", "vault", "spark", "spark_standby", "spark_keeper", *CLUSTER,
    "notebooks",
    *AIRFLOW_COMPONENTS,
)  # fmt: skip
