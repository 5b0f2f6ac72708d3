"""Model versions by label and by alias."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    aliases = op.create_table(
        "model_aliases",
        sa.Column("model_id", TEXT, nullable=False),
        sa.Column("alias", TEXT, nullable=False),
        sa.Column("version", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("model_id", "alias", name="model_aliases_key"),
    )
    op.create_index("model_aliases_alias", "model_aliases", ["alias"])
    labels = op.create_table(
        "model_version_labels",
        sa.Column("version_id", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("version_id", "key", name="model_version_labels_key"),
    )
    op.create_index("model_version_labels_value", "model_version_labels", ["key", "version_id"])
    op.create_index("model_versions_model", "model_versions", ["model_id", "created_at", "id"])
    op.drop_index("model_versions_project", "model_versions")
    columns = ["project_id", "created_at", "id", "model_id", "version", "version_name"]
    op.create_index("model_versions_project", "model_versions", columns)
    for id, alias, version in _entries("models", "aliases"):
        op.execute(aliases.insert().values(model_id=id, alias=alias, version=version))
    for id, key, value in _entries("model_versions", "labels"):
        # PostgreSQL has no NUL characters; a label that held one could not be asked for.
        if "\0" not in key + value:
            op.execute(labels.insert().values(version_id=id, key=key, value=value))


def _entries(table: str, field: str) -> list[tuple[str, str, Any]]:
    rows = op.get_bind().execute(sa.text(f"SELECT id, document FROM {table}"))  # noqa: S608 - our own words
    return [(row.id, key, value) for row in rows for key, value in (json.loads(row.document).get(field) or {}).items()]
