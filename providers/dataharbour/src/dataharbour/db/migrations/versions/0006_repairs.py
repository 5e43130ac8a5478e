"""Repairs: which run was made in the place of which, and by whose request."""

from __future__ import annotations

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Create the table. A run is repaired once, by whoever is first."""
    op.execute(
        """
        create table public.repair (
            run_id          uuid primary key references public.run (id) on delete cascade,
            repairs         uuid        not null unique,
            principal       text        not null,
            idempotency_key text        not null,
            at              timestamptz not null,
            unique (principal, idempotency_key)
        )
        """
    )
