"""Schedules: what runs are for, when they are tried again, missed deadlines."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Add columns and an index."""
    sql = files("dataharbour.db.migrations") / "sql" / "0007_schedules.sql"
    connection = op.get_bind().connection.driver_connection
    assert connection is not None, "migrations run on a live connection"
    connection.execute(sql.read_text(encoding="utf-8"))
