"""How many tries the task of a run may have: with more, somebody has cleared it since."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Add the number; of runs so far it is not known."""
    op.add_column("run", sa.Column("task_max_tries", sa.Integer))
