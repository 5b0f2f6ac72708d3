"""How far each monitor has read each log stream."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "monitor_progress",
        sa.Column("monitor_id", TEXT, nullable=False),
        sa.Column("revision", NUMBER, nullable=False),
        sa.Column("stream", TEXT, nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("gone", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("monitor_id", "revision", "stream", name="monitor_progress_key"),
    )
    op.create_index("monitor_progress_run", "monitor_progress", ["run_id"])
    op.create_index("monitor_progress_gone", "monitor_progress", ["gone"])
