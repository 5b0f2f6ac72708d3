"""Which URL opens what, and what is said when it cannot."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path
from secrets import token_hex

import pytest

from headway.errors import ConfigurationError, MissingExtraError, UnavailableError
from headway.storage import open_storage
from headway.storage.sql.postgres import PostgresStorage
from headway.storage.sql.sqlite import SqliteStorage
from headway.testing.factories import make_project


def test_sqlite_urls_open_sqlite(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/deep/er/headway.db")
    storage.close()
    assert isinstance(storage, SqliteStorage)
    assert (tmp_path / "deep" / "er" / "headway.db").is_file()


def test_a_relative_sqlite_path_lies_below_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_storage("sqlite:///data/headway.db").close()
    assert (tmp_path / "data" / "headway.db").is_file()


def test_a_sqlite_path_may_hold_any_character(tmp_path: Path) -> None:
    project = make_project()
    url = f"sqlite:///{tmp_path}/a b?c#d%41é&mode=memory/headway.db"
    for _ in range(2):
        storage = open_storage(url)
        with storage.write() as session:
            if session.projects.find(project.id) is None:
                session.projects.add(project)
        storage.close()
    storage = open_storage(url)
    with storage.read() as session:
        assert session.projects.get(project.id) == project
    storage.close()


def test_both_postgresql_schemes_open_postgresql(postgres_url: str) -> None:
    for url in (postgres_url, postgres_url.replace("postgresql:", "postgres:")):
        storage = open_storage(url)
        storage.close()
        assert isinstance(storage, PostgresStorage)


@pytest.mark.parametrize(
    "url", ["", "mysql://host/db", "/var/lib/x.db", "sqlite", "sqlite://", "sqlite:///", "sqlite:///:memory:"]
)
def test_what_is_no_storage_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_storage(url)


def test_a_malformed_postgresql_url_is_refused_without_showing_its_password() -> None:
    password = token_hex(8)
    with pytest.raises(ConfigurationError) as caught:
        open_storage(f"postgresql://user:{password}@host:port/db")
    assert password not in "".join(traceback.format_exception(caught.value))


def test_a_database_that_does_not_answer_is_unavailable_and_its_password_is_not_shown() -> None:
    password = token_hex(8)
    with pytest.raises(UnavailableError) as caught:
        open_storage(f"postgresql://user:{password}@127.0.0.1:1/db")
    assert password not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("place", ["file/headway.db", "file/deep/headway.db", "directory"])
def test_a_place_that_cannot_hold_a_database_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "directory").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        open_storage(f"sqlite:///{tmp_path}/{place}")


def test_a_missing_driver_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"headway\[postgres\]"):
        open_storage("postgresql://127.0.0.1:1/db")


def test_importing_storage_loads_no_database() -> None:
    code = (
        "import sys, headway.storage\n"
        "loaded = {'sqlalchemy', 'alembic', 'psycopg', 'sqlite3', 'pytest', 'hypothesis'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_opening_a_present_database_loads_no_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/headway.db"
    open_storage(url).close()
    code = (
        "import sys\nfrom headway.storage import open_storage\n"
        "open_storage(sys.argv[1]).close()\nassert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, url], check=True)
