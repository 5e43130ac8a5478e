"""What an attempt cost: memory and processor time of its driver."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Add the columns and the function that fills them."""
    connection = op.get_bind().connection.driver_connection
    assert connection is not None, "migrations run on a live connection"
    sql = files("dataharbour.db.migrations") / "sql" / "0008_metrics.sql"
    connection.execute(sql.read_text(encoding="utf-8"))
