"""Runs that are searched: columns to find them by, hyperparameters, summaries, folders; what is to be folded."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _new_tables()
    _runs()
    _streams()


def _new_tables() -> None:
    op.create_table(
        "run_params",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("form", NUMBER, nullable=False),
        sa.Column("number", sa.Double(), nullable=True),
        sa.Column("rest", NUMBER, nullable=False),
        sa.Column("text", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("run_id", "key", name="run_params_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_metrics",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("stage", TEXT, nullable=False),
        sa.Column("forms", NUMBER, nullable=False),
        sa.Column("count", NUMBER, nullable=False),
        sa.Column("nan_count", NUMBER, nullable=False),
        sa.Column("last_step", NUMBER, nullable=True),
        sa.Column("last", sa.Double(), nullable=True),
        sa.Column("last_rest", NUMBER, nullable=False),
        sa.Column("min", sa.Double(), nullable=True),
        sa.Column("min_rest", NUMBER, nullable=False),
        sa.Column("max", sa.Double(), nullable=True),
        sa.Column("max_rest", NUMBER, nullable=False),
        sa.Column("mean", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "key", name="run_metrics_key"),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        values = ["form", "number", "rest"]
        op.create_index("run_params_by_key", "run_params", ["key", "run_id"], postgresql_include=values)
        values = ["forms", "last", "last_rest", "min", "min_rest", "max", "max_rest", "mean", "count"]
        op.create_index("run_metrics_by_key", "run_metrics", ["key", "run_id"], postgresql_include=values)
    op.create_table(
        "run_details",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("document", TEXT, nullable=False),
    )
    op.create_table(
        "removed_runs",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("removed_at", NUMBER, nullable=False),
    )
    op.create_table(
        "folders",
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "path", name="folders_key"),
    )


def _runs() -> None:
    """The table anew, because the columns that a search reads belong before the document."""
    op.drop_index("runs_newest", "runs")
    op.drop_index("runs_project", "runs")
    op.rename_table("runs", "runs_before")
    op.create_table(
        "runs",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("folder", TEXT, nullable=False),
        sa.Column("labels", TEXT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("job_id", TEXT, nullable=True),
        sa.Column("attempts", NUMBER, nullable=False),
        sa.Column("owned", NUMBER, nullable=False),
        sa.Column("finished_at", NUMBER, nullable=True),
        sa.Column("heard_at", NUMBER, nullable=False),
        sa.Column("indexed", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("document", TEXT, nullable=False),
    )
    _copy_runs()
    op.drop_table("runs_before")
    op.create_index("runs_newest", "runs", ["created_at", "id"])
    op.create_index("runs_project", "runs", ["project_id", "created_at", "id"])
    op.create_index("runs_name", "runs", ["project_id", "folder", "name"])
    op.create_index("runs_silent", "runs", ["state", "owned", "heard_at"])


def _copy_runs() -> None:
    columns = [
        "id",
        "project_id",
        "created_at",
        "name",
        "state",
        "folder",
        "labels",
        "created_by",
        "job_id",
        "attempts",
    ]
    columns += ["owned", "finished_at", "heard_at", "indexed", "description", "document"]
    new = sa.table("runs", *[sa.column(name) for name in columns])
    old = sa.table("runs_before", *[sa.column(name) for name in ("id", "project_id", "created_at", "document")])
    connection = op.get_bind()
    for row in connection.execute(sa.select(old)).all():
        values = {"id": row.id, "project_id": row.project_id, "created_at": row.created_at, "document": row.document}
        connection.execute(sa.insert(new).values(**values, **_found_by(json.loads(row.document), row.created_at)))


def _found_by(run: dict[str, Any], created_at: int) -> dict[str, Any]:
    # A run's name was a job's; it may hold what a column cannot, though nothing that was ever accepted does.
    return {
        "name": run["name"].replace("\0", ""),
        "state": run["state"],
        "folder": "",
        "labels": "",
        "created_by": run["created_by"],
        "job_id": run.get("job_id"),
        "attempts": 0,
        "owned": int(bool(run.get("job_id") or run.get("deployment_id"))),
        "finished_at": _milliseconds(run.get("finished_at")),
        "heard_at": created_at,
        "indexed": "",
        "description": "",
    }


def _milliseconds(text: str | None) -> int | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000


def _streams() -> None:
    # Only logs were shipped so far, and logs are never folded.
    with op.batch_alter_table("streams", recreate="never") as batch:
        batch.add_column(sa.Column("unfolded", NUMBER, nullable=False, server_default="0"))
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("streams", "unfolded", server_default=None)
    op.create_index("streams_unfolded", "streams", ["kind", "unfolded"])
