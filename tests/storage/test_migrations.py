"""The schema: made from nothing, found again, never half made."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect, text

from headway.domain.base import PageRequest
from headway.domain.deployments import RevisionState
from headway.domain.filters import parse_filter
from headway.errors import ConfigurationError
from headway.storage import open_storage
from headway.storage.sql import migrations
from headway.storage.sql.tables import metadata
from headway.testing.factories import make_deployment, make_model, make_model_version, make_project, make_run
from headway.testing.factories import moment as make_moment
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


def differences(connection: Connection) -> list[Any]:
    """What the tables and the schema of a database do not share."""

    def concerns(item: Any, *_: Any) -> bool:
        # Alembic does not know of indexes that only one database has.
        condition = getattr(item, "_ddl_if", None)
        return condition is None or condition.dialect == connection.dialect.name

    context = MigrationContext.configure(connection, opts={"include_object": concerns})
    return list(compare_metadata(context, metadata))


def test_an_empty_database_gets_exactly_the_schema_of_the_tables(url: str) -> None:
    open_storage(url).close()
    engine = engine_of(url)
    with engine.connect() as connection:
        assert differences(connection) == []
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
        assert differences(connection) == []
    engine.dispose()


def test_servers_that_start_at_once_share_the_migration(new_postgres_database: Callable[[], str]) -> None:
    url = new_postgres_database()
    in_threads(*[lambda: open_storage(url).close() for _ in range(4)])
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(migrations.VERSIONS[-1],)]


def test_runs_of_an_older_schema_are_kept_and_found(url: str) -> None:
    """Version 0001 knew of runs only what was in their documents."""
    upgrade_to(url, "0001")
    ended = {"finished_at": "2026-01-02T03:04:05.678Z", "state": "complete", "job_id": "job1"}
    stored = [
        make_run(project_id="p", name="kept").model_dump(mode="json"),
        {**make_run().model_dump(mode="json"), **ended},
    ]
    engine = engine_of(url)
    with engine.begin() as connection:
        for run in stored:
            values = {"id": run["id"], "project_id": run["project_id"], "at": 5, "document": json.dumps(run)}
            connection.execute(text("INSERT INTO runs VALUES (:id, :project_id, :at, :document)"), values)
    engine.dispose()
    storage = open_storage(url)
    with storage.read() as session:
        found = [session.runs.get(run["id"]) for run in stored]
        assert [run.model_dump(mode="json") for run in found] == stored
        page = session.runs.search(PageRequest(), where=parse_filter("name = 'kept' and state = 'running'"))
        assert [run.id for run in page.items] == [stored[0]["id"]]
        page = session.runs.search(PageRequest(), where=parse_filter("finished_at = '2026-01-02T03:04:05.678Z'"))
        assert [run.id for run in page.items] == [stored[1]["id"]]
        assert session.runs.silent(make_moment(60)) == [found[0]]
    storage.close()


def upgrade_to(url: str, version: str) -> None:
    """The schema as it was at ``version``."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = engine_of(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
    engine.dispose()


def test_deployments_of_an_older_schema_have_their_first_revision(url: str) -> None:
    """Version 0003 knew neither revisions nor most of what they fix."""
    upgrade_to(url, "0003")
    kept = make_deployment(public=True, environment={"A": "b"})
    before = ("project_id", "name", "run_id", "versions", "desired", "state", "endpoint", "public", "environment")
    document = kept.model_dump(mode="json", include={"id", *before, "created_at", "created_by", "state_changed_at"})
    for version in document["versions"]:
        del version["scaling"], version["shadow"]
    engine = engine_of(url)
    with engine.begin() as connection:
        values = {"id": kept.id, "project": kept.project_id, "name": kept.name, "state": kept.state.value}
        connection.execute(
            text("INSERT INTO deployments VALUES (:id, :project, :name, :state, 5, :document)"),
            {**values, "document": json.dumps(document)},
        )
    engine.dispose()
    storage = open_storage(url)
    with storage.read() as session:
        assert session.deployments.get(kept.id) == kept
        first = session.revisions.get(kept.id, kept.revision)
        assert (first.number, first.state, first.spec) == (1, RevisionState.LIVE, kept.spec)
        assert (first.live_at, first.created_by) == (kept.created_at, kept.created_by)
        assert session.revisions.pending() == []
    storage.close()


def test_aliases_and_labels_of_an_older_schema_are_found(url: str) -> None:
    """Version 0006 had them in the documents alone."""
    upgrade_to(url, "0006")
    model = make_model(aliases={"champion": 1})
    version = make_model_version(model_id=model.id, labels={"stage": "production"})
    engine = engine_of(url)
    with engine.begin() as connection:
        values = {"id": model.id, "project": model.project_id, "name": model.name, "document": model.model_dump_json()}
        connection.execute(text("INSERT INTO models VALUES (:id, :project, :name, 5, :document)"), values)
        columns = "id, project_id, model_id, version, created_at, document"
        connection.execute(
            text(f"INSERT INTO model_versions ({columns}) VALUES (:id, :project, :model, 1, 5, :document)"),
            {"id": version.id, "project": "p", "model": model.id, "document": version.model_dump_json()},
        )
    engine.dispose()
    storage = open_storage(url)
    with storage.read() as session:
        for filters in ({"alias": "champion"}, {"labels": {"stage": "production"}}):
            assert session.model_versions.list(PageRequest(), **filters).items == (version,)
        assert session.model_versions.list(PageRequest(), labels={"stage": "champion"}).items == ()
    storage.close()
