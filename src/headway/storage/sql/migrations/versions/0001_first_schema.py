"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("name", name="projects_name"),
    )
    op.create_index("projects_newest", "projects", ["created_at", "id"])
    op.create_table(
        "users",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("name", name="users_name"),
    )
    op.create_index("users_newest", "users", ["created_at", "id"])
    op.create_table(
        "members",
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "user_id", name="members_key"),
    )
    op.create_index("members_user", "members", ["user_id"])
    op.create_table(
        "tokens",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("attempt_id", TEXT, nullable=True),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("revoked_at", NUMBER, nullable=True),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("digest", name="tokens_digest"),
    )
    op.create_index("tokens_attempt", "tokens", ["attempt_id"])
    op.create_index("tokens_newest", "tokens", ["created_at", "id"])
    op.create_index("tokens_usable", "tokens", ["kind", "revoked_at"])
    op.create_index("tokens_user", "tokens", ["user_id", "created_at", "id"])
    op.create_table(
        "instance_types",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("document", TEXT, nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
    )
    op.create_index("runs_newest", "runs", ["created_at", "id"])
    op.create_index("runs_project", "runs", ["project_id", "created_at", "id"])
    op.create_table(
        "streams",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", name="streams_key"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
    )
    op.create_index("jobs_newest", "jobs", ["created_at", "id"])
    op.create_index("jobs_project", "jobs", ["project_id", "created_at", "id"])
    op.create_index("jobs_state", "jobs", ["state", "created_at", "id"])
    op.create_table(
        "attempts",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("owner_kind", TEXT, nullable=False),
        sa.Column("owner_id", TEXT, nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("ended_at", NUMBER, nullable=True),
        sa.Column("document", TEXT, nullable=False),
    )
    op.create_index("attempts_open", "attempts", ["ended_at", "created_at", "id"])
    op.create_index("attempts_owner", "attempts", ["owner_kind", "owner_id", "number"])
    op.create_index("attempts_token", "attempts", ["token"])
    op.create_table(
        "replicas",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("attempt_id", TEXT, nullable=False),
        sa.Column("rank", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
    )
    op.create_index("replicas_attempt", "replicas", ["attempt_id", "rank"])
    op.create_table(
        "models",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("project_id", "name", name="models_name"),
    )
    op.create_index("models_newest", "models", ["created_at", "id"])
    op.create_index("models_project", "models", ["project_id", "created_at", "id"])
    op.create_table(
        "model_versions",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("model_id", TEXT, nullable=False),
        sa.Column("version", NUMBER, nullable=False),
        sa.Column("job_id", TEXT, nullable=True),
        sa.Column("run_id", TEXT, nullable=True),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("model_id", "version", name="model_versions_number"),
    )
    op.create_index("model_versions_job", "model_versions", ["job_id"])
    op.create_index("model_versions_newest", "model_versions", ["created_at", "id"])
    op.create_index("model_versions_project", "model_versions", ["project_id", "created_at", "id"])
    op.create_index("model_versions_run", "model_versions", ["run_id"])
    op.create_table(
        "deployments",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.UniqueConstraint("project_id", "name", name="deployments_name"),
    )
    op.create_index("deployments_newest", "deployments", ["created_at", "id"])
    op.create_index("deployments_project", "deployments", ["project_id", "created_at", "id"])
    op.create_table(
        "deployed_versions",
        sa.Column("deployment_id", TEXT, nullable=False),
        sa.Column("model_version_id", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("deployment_id", "model_version_id", name="deployed_versions_key"),
    )
    op.create_index("deployed_versions_version", "deployed_versions", ["model_version_id"])
    op.create_table(
        "events",
        sa.Column("sequence", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=True),
        sa.Column("subject_id", TEXT, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("events_project", "events", ["project_id", "sequence"])
    op.create_index("events_subject", "events", ["subject_id", "sequence"])
    op.create_table(
        "blobs",
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "digest", name="blobs_key"),
    )
    op.create_table(
        "secrets",
        sa.Column("owner_id", TEXT, primary_key=True),
        sa.Column("document", TEXT, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("token_id", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("status", NUMBER, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("token_id", "key", name="idempotency_key"),
    )
    op.create_index("idempotency_age", "idempotency", ["created_at"])
    op.create_table(
        "settings",
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("value", TEXT, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("subject", TEXT, primary_key=True),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("expires_at", NUMBER, nullable=False),
    )
    op.create_table(
        "segments",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("position", NUMBER, nullable=False),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", "position", name="segments_key"),
    )
