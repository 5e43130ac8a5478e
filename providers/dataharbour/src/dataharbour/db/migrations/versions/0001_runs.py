"""Runs, attempts, events, logs, and what a driver may do."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Create the tables, then the functions of schema `driver`."""
    sql = files("dataharbour.db.migrations") / "sql"
    # Through psycopg itself: several statements in one call, and no reading of % or : signs.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None, "migrations run on a live connection"
    for name in ("0001_tables.sql", "0001_driver.sql"):
        connection.execute((sql / name).read_text(encoding="utf-8"))
