"""Which try of its task carries a run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Add the number of the try; of runs so far it is not known."""
    op.add_column("run", sa.Column("task_try", sa.Integer))
