"""Drivers that come with a ticket, which is worth nothing once it was used."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Create the function."""
    sql = files("dataharbour.db.migrations") / "sql" / "0004_tickets.sql"
    connection = op.get_bind().connection.driver_connection
    assert connection is not None, "migrations run on a live connection"
    connection.execute(sql.read_text(encoding="utf-8"))
