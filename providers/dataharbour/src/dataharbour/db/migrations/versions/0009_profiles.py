"""How the Spark of a run is tuned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Add the profile to the run; all runs so far had `short`."""
    op.add_column("run", sa.Column("profile", sa.Text, nullable=False, server_default="short"))
    op.create_check_constraint("run_profile", "run", "profile in ('short', 'standard')")
