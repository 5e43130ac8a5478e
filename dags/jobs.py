"""One Airflow DAG, `job__<name>`, for each job file of include/jobs.

Runbook: docs/runbooks/jobs.md
"""

from __future__ import annotations

from dataharbour.dag_factory import job_dags

globals().update(job_dags())
