"""Every table. A record lives in ``document`` as JSON; by the other columns it is found, ordered and kept unique.

A change here needs a migration (migrations/versions/); tests/storage/test_migrations.py compares the two.
"""

from __future__ import annotations

from sqlalchemy import Column, Double, Index, LargeBinary, MetaData, PrimaryKeyConstraint, Table, UniqueConstraint

from headway.storage.sql.columns import PlainText, WholeNumber

metadata = MetaData()


def _text(name: str, *, optional: bool = False) -> Column[str]:
    return Column(name, PlainText, nullable=optional)


def _key(name: str = "id") -> Column[str]:
    return Column(name, PlainText, primary_key=True)


def _document() -> Column[str]:
    return Column("document", PlainText, nullable=False)


def _moment(name: str = "created_at", *, optional: bool = False) -> Column[int]:
    # The column holds plain milliseconds, so that cursors and comparisons need no conversion.
    return Column(name, WholeNumber, nullable=optional)


def _number(name: str, *, optional: bool = False) -> Column[int]:
    return Column(name, WholeNumber, nullable=optional)


projects = Table(
    "projects",
    metadata,
    _key(),
    _text("name"),
    _moment(),
    _document(),
    UniqueConstraint("name", name="projects_name"),
    Index("projects_newest", "created_at", "id"),
)

users = Table(
    "users",
    metadata,
    _key(),
    _text("name"),
    _moment(),
    _document(),
    UniqueConstraint("name", name="users_name"),
    Index("users_newest", "created_at", "id"),
)

members = Table(
    "members",
    metadata,
    _text("project_id"),
    _text("user_id"),
    _document(),
    PrimaryKeyConstraint("project_id", "user_id", name="members_key"),
    Index("members_user", "user_id"),
)

tokens = Table(
    "tokens",
    metadata,
    _key(),
    _text("digest"),
    _text("kind"),
    _text("user_id"),
    _text("attempt_id", optional=True),
    _moment(),
    _moment("revoked_at", optional=True),
    _document(),
    UniqueConstraint("digest", name="tokens_digest"),
    Index("tokens_newest", "created_at", "id"),
    Index("tokens_user", "user_id", "created_at", "id"),
    Index("tokens_attempt", "attempt_id"),
    Index("tokens_usable", "kind", "revoked_at"),
)

instance_types = Table("instance_types", metadata, _key("name"), _document())

runs = Table(
    "runs",
    metadata,
    _key(),
    _text("project_id"),
    _moment(),
    _text("name"),
    _text("state"),
    _text("folder"),
    _text("labels"),
    _text("created_by"),
    _text("job_id", optional=True),
    _number("attempts"),
    _number("owned"),
    _moment("finished_at", optional=True),
    _moment("heard_at"),
    _text("indexed"),
    _text("description"),
    _document(),
    Index("runs_newest", "created_at", "id"),
    Index("runs_project", "project_id", "created_at", "id"),
    Index("runs_name", "project_id", "folder", "name"),
    Index("runs_silent", "state", "owned", "heard_at"),
)

run_params = Table(
    "run_params",
    metadata,
    _text("run_id"),
    _text("key"),
    _number("form"),
    Column("number", Double, nullable=True),
    _number("rest"),
    _text("text", optional=True),
    PrimaryKeyConstraint("run_id", "key", name="run_params_key"),
    # One key of all runs: PostgreSQL reads it as it lies there. SQLite is as quick by primary key, and writes less.
    Index("run_params_by_key", "key", "run_id", postgresql_include=["form", "number", "rest"]).ddl_if("postgresql"),
    sqlite_with_rowid=False,
)

run_metrics = Table(
    "run_metrics",
    metadata,
    _text("run_id"),
    _text("key"),
    _text("stage"),
    _number("forms"),
    _number("count"),
    _number("nan_count"),
    _number("last_step", optional=True),
    Column("last", Double, nullable=True),
    _number("last_rest"),
    Column("min", Double, nullable=True),
    _number("min_rest"),
    Column("max", Double, nullable=True),
    _number("max_rest"),
    Column("mean", Double, nullable=True),
    PrimaryKeyConstraint("run_id", "key", name="run_metrics_key"),
    Index(
        "run_metrics_by_key",
        "key",
        "run_id",
        postgresql_include=["forms", "last", "last_rest", "min", "min_rest", "max", "max_rest", "mean", "count"],
    ).ddl_if("postgresql"),
    sqlite_with_rowid=False,
)

run_details = Table("run_details", metadata, _key("run_id"), _document())

removed_runs = Table("removed_runs", metadata, _key("run_id"), _moment("removed_at"))

folders = Table(
    "folders",
    metadata,
    _text("project_id"),
    _text("path"),
    _moment(),
    _document(),
    PrimaryKeyConstraint("project_id", "path", name="folders_key"),
)

streams = Table(
    "streams",
    metadata,
    _text("run_id"),
    _text("name"),
    _text("kind"),
    _number("unfolded"),
    _moment(),
    _document(),
    PrimaryKeyConstraint("run_id", "name", name="streams_key"),
    Index("streams_unfolded", "kind", "unfolded"),
)

jobs = Table(
    "jobs",
    metadata,
    _key(),
    _text("project_id"),
    _text("name"),
    _text("state"),
    _moment(),
    _document(),
    Index("jobs_newest", "created_at", "id"),
    Index("jobs_project", "project_id", "created_at", "id"),
    Index("jobs_state", "state", "created_at", "id"),
)

attempts = Table(
    "attempts",
    metadata,
    _key(),
    _text("token"),
    _text("owner_kind"),
    _text("owner_id"),
    Column("number", WholeNumber, nullable=False),
    _moment(),
    _moment("ended_at", optional=True),
    _document(),
    Index("attempts_token", "token"),
    Index("attempts_owner", "owner_kind", "owner_id", "number"),
    Index("attempts_open", "ended_at", "created_at", "id"),
)

replicas = Table(
    "replicas",
    metadata,
    _key(),
    _text("attempt_id"),
    Column("rank", WholeNumber, nullable=False),
    _document(),
    Index("replicas_attempt", "attempt_id", "rank"),
)

models = Table(
    "models",
    metadata,
    _key(),
    _text("project_id"),
    _text("name"),
    _moment(),
    _document(),
    UniqueConstraint("project_id", "name", name="models_name"),
    Index("models_newest", "created_at", "id"),
    Index("models_project", "project_id", "created_at", "id"),
)

model_versions = Table(
    "model_versions",
    metadata,
    _key(),
    _text("project_id"),
    _text("model_id"),
    Column("version", WholeNumber, nullable=False),
    _text("version_name", optional=True),
    _text("job_id", optional=True),
    _text("run_id", optional=True),
    _moment(),
    _document(),
    UniqueConstraint("model_id", "version", name="model_versions_number"),
    Index("model_versions_name", "model_id", "version_name", unique=True),
    Index("model_versions_newest", "created_at", "id"),
    # With what filters look at, so that a page that finds little reads few documents.
    Index("model_versions_project", "project_id", "created_at", "id", "model_id", "version", "version_name"),
    Index("model_versions_model", "model_id", "created_at", "id"),
    Index("model_versions_job", "job_id"),
    Index("model_versions_run", "run_id"),
)

model_aliases = Table(
    "model_aliases",
    metadata,
    _text("model_id"),
    _text("alias"),
    _number("version"),
    PrimaryKeyConstraint("model_id", "alias", name="model_aliases_key"),
    Index("model_aliases_alias", "alias"),
)

model_version_labels = Table(
    "model_version_labels",
    metadata,
    _text("version_id"),
    _text("key"),
    _text("value"),
    PrimaryKeyConstraint("version_id", "key", name="model_version_labels_key"),
    Index("model_version_labels_value", "key", "version_id"),
)
"""A label's value may be too long for an index."""

deployments = Table(
    "deployments",
    metadata,
    _key(),
    _text("project_id"),
    _text("name"),
    _text("state"),
    _moment(),
    _document(),
    UniqueConstraint("project_id", "name", name="deployments_name"),
    Index("deployments_newest", "created_at", "id"),
    Index("deployments_project", "project_id", "created_at", "id"),
)

deployed_versions = Table(
    "deployed_versions",
    metadata,
    _text("deployment_id"),
    _text("model_version_id"),
    PrimaryKeyConstraint("deployment_id", "model_version_id", name="deployed_versions_key"),
    Index("deployed_versions_version", "model_version_id"),
)

events = Table(
    "events",
    metadata,
    Column("sequence", WholeNumber, primary_key=True, autoincrement=True),
    _text("type"),
    _text("project_id", optional=True),
    _text("subject_id"),
    _document(),
    Index("events_project", "project_id", "sequence"),
    Index("events_subject", "subject_id", "sequence"),
    sqlite_autoincrement=True,
)

blobs = Table(
    "blobs",
    metadata,
    _text("project_id"),
    _text("digest"),
    Column("size", WholeNumber, nullable=False),
    _moment(),
    PrimaryKeyConstraint("project_id", "digest", name="blobs_key"),
)

secrets = Table("secrets", metadata, _key("owner_id"), _document())

idempotency = Table(
    "idempotency",
    metadata,
    _text("token_id"),
    _text("key"),
    _text("fingerprint"),
    Column("status", WholeNumber, nullable=False),
    Column("body", LargeBinary, nullable=False),
    _moment(),
    PrimaryKeyConstraint("token_id", "key", name="idempotency_key"),
    Index("idempotency_age", "created_at"),
)

settings = Table("settings", metadata, _key("key"), _text("value"))

leases = Table("leases", metadata, _key("subject"), _text("token"), _moment("expires_at"))

segments = Table(
    "segments",
    metadata,
    _text("run_id"),
    _text("name"),
    Column("position", WholeNumber, nullable=False),
    Column("size", WholeNumber, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_id", "name", "position", name="segments_key"),
)
