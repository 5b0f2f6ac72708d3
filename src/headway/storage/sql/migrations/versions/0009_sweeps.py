"""Sweeps and trials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("project_id", "name", name="sweeps_name"),
    )
    op.create_index("sweeps_newest", "sweeps", ["created_at", "id"])
    op.create_index("sweeps_state", "sweeps", ["state", "created_at", "id"])
    op.create_table(
        "trials",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("sweep_id", TEXT, nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("sweep_id", "number", name="trials_number"),
    )
