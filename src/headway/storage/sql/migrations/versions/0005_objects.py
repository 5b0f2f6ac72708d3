"""The object area, monitors, names of model versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "buckets",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("project_id", "name", name="buckets_name"),
    )
    op.create_index("buckets_newest", "buckets", ["created_at", "id"])
    op.create_table(
        "objects",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("bucket_id", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("bucket_id", "key", name="objects_key"),
    )
    op.create_table(
        "monitors",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("active", NUMBER, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("run_id", "name", name="monitors_name"),
    )
    op.create_index("monitors_active", "monitors", ["active", "created_at", "id"])
    op.add_column("model_versions", sa.Column("version_name", TEXT, nullable=True))
    op.create_index("model_versions_name", "model_versions", ["model_id", "version_name"], unique=True)
