"""Indexes for the list of runs and the numbers of the overview; see tests/benchmarks/lists.py."""

from __future__ import annotations

from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Each filter of the list finds its runs; the overview reads one index and no row."""
    for index in (
        "run_by_principal on public.run (principal, id desc)",
        "run_by_time on public.run (created_at)",
        # Most runs have succeeded; the others are what people look for.
        "run_not_succeeded on public.run (detail, id desc) where detail <> 'SUCCEEDED'",
        # All runs of a DAG run: the repairs of a run, and the run of a task that comes again.
        "run_by_dag_run on public.run (dag_id, dag_run_id)",
    ):
        op.execute(f"create index {index}")
    op.execute("drop index public.run_by_end")
    op.execute(
        "create index run_by_end on public.run (ended_at) include (dag_id, detail, started_at)"
    )
