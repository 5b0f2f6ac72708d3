"""Revisions of deployments, and the requests that went to them."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _revisions()
    _traffic()


def _revisions() -> None:
    op.create_table(
        "deployment_revisions",
        sa.Column("deployment_id", TEXT, nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("deployment_id", "number", name="deployment_revisions_key"),
    )
    op.create_index("deployment_revisions_state", "deployment_revisions", ["state", "deployment_id", "number"])
    _first_revisions()


def _first_revisions() -> None:
    """What is deployed is its first revision, and live."""
    columns: list[Any] = [sa.column(name) for name in ("deployment_id", "number", "state", "document")]
    new = sa.table("deployment_revisions", *columns)
    old = sa.table("deployments", sa.column("document"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(old)).all():
        found = _first_revision(json.loads(row.document))
        values = {"deployment_id": found["deployment_id"], "number": 1, "state": "live"}
        connection.execute(sa.insert(new).values(**values, document=json.dumps(found)))


def _first_revision(deployment: dict[str, Any]) -> dict[str, Any]:
    return {
        "deployment_id": deployment["id"],
        "number": 1,
        "spec": {name: deployment[name] for name in ("versions", "public", "environment") if name in deployment},
        "state": "live",
        "reason": "created",
        "created_at": deployment["created_at"],
        "created_by": deployment["created_by"],
        "live_at": deployment["created_at"],
    }


def _traffic() -> None:
    op.create_table(
        "deployment_traffic",
        sa.Column("deployment_id", TEXT, nullable=False),
        sa.Column("start", NUMBER, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("replica_id", TEXT, nullable=False),
        sa.Column("gateway", TEXT, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.PrimaryKeyConstraint(
            "deployment_id", "start", "version", "replica_id", "gateway", name="deployment_traffic_key"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("deployment_traffic_start", "deployment_traffic", ["start"])
    op.create_table(
        "deployment_waiting",
        sa.Column("deployment_id", TEXT, nullable=False),
        sa.Column("gateway", TEXT, nullable=False),
        sa.Column("count", NUMBER, nullable=False),
        sa.Column("moment", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("deployment_id", "gateway", name="deployment_waiting_key"),
    )
