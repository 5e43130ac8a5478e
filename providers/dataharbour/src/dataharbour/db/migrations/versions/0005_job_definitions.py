"""Jobs that are stored over REST, and how many open runs a user has."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Create the table of stored jobs, and an index over open runs."""
    sql = files("dataharbour.db.migrations") / "sql" / "0005_job_definitions.sql"
    connection = op.get_bind().connection.driver_connection
    assert connection is not None, "migrations run on a live connection"
    connection.execute(sql.read_text(encoding="utf-8"))
