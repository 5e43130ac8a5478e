"""Where Spark's own pages on a driver are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Add the address to the attempt."""
    op.add_column("attempt", sa.Column("ui_url", sa.Text))
