"""No run is in doubt: its driver has claimed it, or may still, or has been given up."""

from __future__ import annotations

from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: None = None
depends_on: None = None

DETAILS = (
    "ACCEPTED", "QUEUED", "SUBMITTING", "SUBMITTED", "RUNNING", "FINALIZING", "SUCCEEDED",
    "FAILED", "CANCELLED", "TIMED_OUT", "SKIPPED", "CANCELLING", "RETRY_WAIT", "LOST",
)  # fmt: skip


def upgrade() -> None:
    """Take the state AMBIGUOUS, which no run ever had, out of the table and out of the claim."""
    op.drop_constraint("run_detail_check", "run")
    op.create_check_constraint("run_detail_check", "run", f"detail in {DETAILS}")
    op.execute("""
        do $$ begin execute replace(
            pg_get_functiondef(to_regprocedure('driver.claim(uuid, text, text)')),
            $word$'AMBIGUOUS', $word$, '');
        end $$
    """)
