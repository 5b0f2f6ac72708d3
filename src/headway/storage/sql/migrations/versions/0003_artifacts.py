"""Artifacts, lineage, uploads in parts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _artifacts()
    _links()
    op.create_table(
        "uploads",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("project_id", "digest", name="uploads_digest"),
    )
    op.create_index("uploads_age", "uploads", ["created_at"])
    op.create_index("blobs_digest", "blobs", ["digest", "created_at"])


def _artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("folder", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("project_id", "name", "folder", name="artifacts_name"),
    )
    op.create_index("artifacts_newest", "artifacts", ["created_at", "id"])
    op.create_index("artifacts_project", "artifacts", ["project_id", "created_at", "id"])
    op.create_table(
        "artifact_versions",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("artifact_id", TEXT, nullable=False),
        sa.Column("version", NUMBER, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("manifest", TEXT, nullable=False),
        sa.Column("run_id", TEXT, nullable=True),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("artifact_id", "version", name="artifact_versions_number"),
        sa.UniqueConstraint("artifact_id", "digest", name="artifact_versions_content"),
    )
    op.create_index("artifact_versions_newest", "artifact_versions", ["created_at", "id"])
    op.create_index("artifact_versions_project", "artifact_versions", ["project_id", "created_at", "id"])
    op.create_index("artifact_versions_run", "artifact_versions", ["run_id"])


def _links() -> None:
    op.create_table(
        "links",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("other_id", TEXT, nullable=False),
        sa.Column("relation", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "kind", "other_id", "relation", name="links_key"),
    )
    op.create_index("links_other", "links", ["other_id"])
