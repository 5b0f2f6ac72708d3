"""Tables of deployments' revisions and of the requests that went to them. See tables.py."""

from __future__ import annotations

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table

from headway.storage.sql.columns import PlainText, WholeNumber
from headway.storage.sql.tables import metadata


def _text(name: str) -> Column[str]:
    return Column(name, PlainText, nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, WholeNumber, nullable=False)


deployment_revisions = Table(
    "deployment_revisions",
    metadata,
    _text("deployment_id"),
    _number("number"),
    _text("state"),
    _text("document"),
    PrimaryKeyConstraint("deployment_id", "number", name="deployment_revisions_key"),
    Index("deployment_revisions_state", "state", "deployment_id", "number"),
)

deployment_traffic = Table(
    "deployment_traffic",
    metadata,
    _text("deployment_id"),
    _number("start"),
    _text("version"),
    _text("replica_id"),
    _text("gateway"),
    _text("document"),
    PrimaryKeyConstraint("deployment_id", "start", "version", "replica_id", "gateway", name="deployment_traffic_key"),
    Index("deployment_traffic_start", "start"),
    sqlite_with_rowid=False,
)

deployment_waiting = Table(
    "deployment_waiting",
    metadata,
    _text("deployment_id"),
    _text("gateway"),
    _number("count"),
    _number("moment"),
    PrimaryKeyConstraint("deployment_id", "gateway", name="deployment_waiting_key"),
)
