"""What the triggerer does when Airflow finds that a run has missed its deadline."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from dataharbour.clock import now
from dataharbour.errors import Unavailable
from dataharbour.hooks.database import DataHarbourDatabaseHook

TRIES_AFTER_S = (1.0, 5.0, 15.0, 60.0)  # Airflow itself calls once


async def deadline_missed(*, job: str, context: dict[str, Any]) -> str:
    """Write the event `run.deadline_missed`; the run goes on.

    Args:
        job: the declared job.
        context: what Airflow says of the DAG run and of its deadline.

    Returns:
        The DAG run, for the callback's record in Airflow.
    """
    for pause_s in TRIES_AFTER_S:
        try:
            return await asyncio.to_thread(_report, job, context)
        except Unavailable:
            await asyncio.sleep(pause_s)
    return await asyncio.to_thread(_report, job, context)


def _report(job: str, context: dict[str, Any]) -> str:
    dag_run, deadline = context["dag_run"], context["deadline"]
    due: str | datetime = deadline["deadline_time"]
    DataHarbourDatabaseHook().run_store(actor="airflow").deadline_missed(
        dag_id=dag_run["dag_id"],
        dag_run_id=dag_run["dag_run_id"],
        job=job,
        deadline_id=str(deadline["id"]),
        due=datetime.fromisoformat(due) if isinstance(due, str) else due,
        now=now(),
    )
    return str(dag_run["dag_run_id"])
