"""Tables of artifacts, lineage and uploads. See tables.py."""

from __future__ import annotations

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table, UniqueConstraint

from headway.storage.sql.columns import PlainText, WholeNumber
from headway.storage.sql.tables import blobs, metadata


def _text(name: str, *, optional: bool = False) -> Column[str]:
    return Column(name, PlainText, nullable=optional)


def _number(name: str) -> Column[int]:
    return Column(name, WholeNumber, nullable=False)


artifacts = Table(
    "artifacts",
    metadata,
    Column("id", PlainText, primary_key=True),
    _text("project_id"),
    _text("folder"),
    _text("name"),
    _text("type"),
    _number("created_at"),
    _text("document"),
    UniqueConstraint("project_id", "name", "folder", name="artifacts_name"),
    Index("artifacts_newest", "created_at", "id"),
    Index("artifacts_project", "project_id", "created_at", "id"),
)

artifact_versions = Table(
    "artifact_versions",
    metadata,
    Column("id", PlainText, primary_key=True),
    _text("project_id"),
    _text("artifact_id"),
    _number("version"),
    _text("digest"),
    _text("manifest"),
    _text("run_id", optional=True),
    _number("created_at"),
    _text("document"),
    UniqueConstraint("artifact_id", "version", name="artifact_versions_number"),
    UniqueConstraint("artifact_id", "digest", name="artifact_versions_content"),
    Index("artifact_versions_newest", "created_at", "id"),
    Index("artifact_versions_project", "project_id", "created_at", "id"),
    Index("artifact_versions_run", "run_id"),
)

links = Table(
    "links",
    metadata,
    _text("run_id"),
    _text("kind"),
    _text("other_id"),
    _text("relation"),
    _number("created_at"),
    _text("document"),
    PrimaryKeyConstraint("run_id", "kind", "other_id", "relation", name="links_key"),
    Index("links_other", "other_id"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", PlainText, primary_key=True),
    _text("project_id"),
    _text("digest"),
    _number("created_at"),
    _text("document"),
    UniqueConstraint("project_id", "digest", name="uploads_digest"),
    Index("uploads_age", "created_at"),
)

blobs_digest = Index("blobs_digest", blobs.c.digest, blobs.c.created_at)
"""Garbage collection goes through all blobs by digest."""
