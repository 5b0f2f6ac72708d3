"""Databases of a real PostgreSQL (headway.testing.postgres): an empty one a test."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from headway.storage import open_storage
from headway.storage.sql.tables import metadata


@pytest.fixture(scope="session")
def migrated_url(new_postgres_database: Callable[[], str]) -> str:
    url = new_postgres_database()
    open_storage(url).close()
    return url


@pytest.fixture
def postgres_url(migrated_url: str) -> str:
    """A database with the newest schema and nothing in it. (A new database a test would take ten times as long.)"""
    tables = ", ".join(metadata.tables)
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {tables} RESTART IDENTITY")
    return migrated_url
