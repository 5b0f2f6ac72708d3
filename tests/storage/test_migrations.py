"""The schema: made from nothing, found again, never half made."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from headway.errors import ConfigurationError
from headway.storage import open_storage
from headway.storage.sql import migrations
from headway.storage.sql.tables import metadata
from headway.testing.factories import make_project
from headway.testing.storage.fixtures import in_threads

KILL_AT = """
import os, signal, sys
from sqlalchemy import Engine, event
from headway.storage import open_storage

statements = 0

def count(*arguments):
    global statements
    statements += 1
    if statements == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "before_cursor_execute", count)
open_storage(sys.argv[1]).close()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/headway.db"
    create: Callable[[], str] = request.getfixturevalue("new_postgres_database")
    return create()


def engine_of(url: str) -> Engine:
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def test_an_empty_database_gets_exactly_the_schema_of_the_tables(url: str) -> None:
    open_storage(url).close()
    engine = engine_of(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_opening_again_changes_nothing(url: str) -> None:
    project = make_project()
    storage = open_storage(url)
    with storage.write() as session:
        session.projects.add(project)
    storage.close()
    for _ in range(2):
        storage = open_storage(url)
        with storage.read() as session:
            assert session.projects.get(project.id) == project
        storage.close()


def test_the_newest_version_is_the_one_that_alembic_finds() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    script = ScriptDirectory.from_config(config)
    history = [revision.revision for revision in script.walk_revisions()]
    assert tuple(reversed(history)) == migrations.VERSIONS
    assert script.get_current_head() == migrations.VERSIONS[-1]


def test_a_database_of_a_newer_version_is_refused_and_left_alone(url: str) -> None:
    open_storage(url).close()
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="'9999'"):
            open_storage(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
    engine.dispose()


@pytest.mark.parametrize("statement", [4, 12, 30, 50])
def test_a_migration_that_is_killed_leaves_nothing_and_can_be_run_again(url: str, statement: int) -> None:
    killed = subprocess.run([sys.executable, "-c", KILL_AT, url, str(statement)], check=False)
    assert killed.returncode == -signal.SIGKILL
    engine = engine_of(url)
    assert inspect(engine).get_table_names() == []
    open_storage(url).close()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_servers_that_start_at_once_share_the_migration(new_postgres_database: Callable[[], str]) -> None:
    url = new_postgres_database()
    in_threads(*[lambda: open_storage(url).close() for _ in range(4)])
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(migrations.VERSIONS[-1],)]
