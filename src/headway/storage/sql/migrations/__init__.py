"""The schema and its history. Alembic does the work, and is imported only where there is work to do."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from headway.errors import ConfigurationError

VERSIONS = tuple(sorted(path.name[:4] for path in Path(__file__).with_name("versions").glob("[0-9]*.py")))
"""Every schema version, oldest first; each is a file in versions/."""

_LOCK = text("SELECT pg_advisory_xact_lock(4858172201)")


def migrate(engine: Engine) -> None:
    """Bring the database to the newest schema, in one transaction: all of it or nothing.

    Raises:
        ConfigurationError: The database has a schema that this version does not know.
    """
    with engine.connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            # Several servers may start at once; the others then find the work done.
            connection.execute(_LOCK)
        if stored_version(connection) != VERSIONS[-1]:
            _upgrade(connection)


def stored_version(connection: Connection) -> str | None:
    """The schema version of a database, None when it is new.

    Raises:
        ConfigurationError: As for :func:`migrate`.
    """
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if version is not None and version not in VERSIONS:
        raise ConfigurationError(
            f"The database has the schema version {version!r}, which this Headway does not know.",
            hint="A newer Headway wrote it: install that version or a later one.",
        )
    return version


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
