"""Show broken job files among Airflow's import errors; makes no DAG.

Runbook: docs/runbooks/broken_jobs.md
"""

from __future__ import annotations

from dataharbour.dag_factory import refuse_broken_jobs

refuse_broken_jobs()
