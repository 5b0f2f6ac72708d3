"""Beginning a run: what is made on the disk, what it is called, and what it costs."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import headway
from headway.domain.names import friendly_name
from headway.domain.runs import RunState
from headway.errors import InvalidRequestError
from headway.testing.trainers import environment, only_run

QUIET = {"capture": False, "console": False, "system": False}


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_anything_configured_a_run_lies_below_the_current_directory(tmp_path: Path) -> None:
    with headway.init(project="digits", config={"lr": 0.1}, **QUIET) as run:
        os.chdir("/")
        run.log({"loss": 0.5}, step=0)
    os.chdir(tmp_path)
    found = only_run(tmp_path)
    assert run.directory == tmp_path / ".headway" / "runs" / run.id == found.path
    assert (found.project, found.config, found.state) == ("digits", {"lr": 0.1}, RunState.COMPLETE)
    assert found.metrics("loss").values == [0.5]
    assert (run.url, run.attempt, run.health["dropped"]) == (None, 0, 0)
    assert headway.current_run() is None


def test_names_are_friendly_and_alternative_names_have_the_known_shape() -> None:
    run = headway.init(**QUIET)
    assert run.name == friendly_name(run.id)
    assert re.fullmatch(rf"{run.name}_\d{{6}}_\d{{6}}_[a-z0-9]{{6}}", run.alternative_name or "")
    assert headway.current_run() is run
    run.finish()
    named = headway.init(name="mnist", alternative_name="mnist_1", labels=["a", "b"], description="text", **QUIET)
    named.finish()
    found = headway.local_runs()[0]
    assert (found.name, found.alternative_name, found.labels) == ("mnist", "mnist_1", ("a", "b"))
    assert (named.labels, found.description, found.folder) == (("a", "b"), "text", "")


def test_what_is_made_is_this_accounts_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        with headway.init(**QUIET) as run:
            run.log({"x": 1})
    finally:
        os.umask(mask)
    assert run.directory is not None
    for path in (run.directory, run.directory.parent, run.directory.parent.parent, *run.directory.iterdir()):
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
    assert (tmp_path / ".headway" / ".gitignore").read_text() == "*\n"


def test_a_disabled_run_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_MODE", "disabled")
    with headway.init(config={"lr": 1}, id="given") as run:
        run.log({"loss": 1.0})
        run.config["more"] = 2
        run.set(name="other")
    assert run.config.as_dict() == {"lr": 1, "more": 2}
    assert (run.directory, run.health, run.state) == (None, {}, RunState.COMPLETE)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_keyword_makes_nothing(tmp_path: Path) -> None:
    for keywords in ({"nmae": "x"}, {"folder": "../x"}, {"rank": "one"}, {"config": {"x": object()}}):
        with pytest.raises(InvalidRequestError):
            headway.init(**keywords)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_file_speaks_for_all_keywords(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("name: mnist\nfolder: default\nmake_folder: true\nconflict_strategy: skip\nsystem: false\n")
    with headway.init(name="beaten", config_path=path, capture=False, console=False) as run:
        pass
    assert (run.name, run.folder) == ("mnist", "default")


def test_a_directory_that_takes_nothing_is_left_for_another_one(tmp_path: Path) -> None:
    """No root may be needed, so the place is taken by a file."""
    (tmp_path / "taken").write_text("")
    code = "import headway; r = headway.init(dir='taken/x', capture=False); r.log({'x': 1}); r.finish(); print(r.directory)"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment(tmp_path / "unused"), "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    warnings = [line for line in ended.stderr.splitlines() if "takes no data" in line]
    assert len(warnings) == 1, ended.stderr
    found = headway.LocalRun.at(Path(ended.stdout.strip()))
    assert found.metrics("x").values == [1]
    for path in sorted(found.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    found.path.rmdir()


HEAVY = ("httpx", "ssl", "requests", "numpy", "pandas", "yaml", "rich", "typer", "psutil", "sqlalchemy", "fastapi")
"""What would take longer to import than everything that init needs; its threads may import some of it later."""


def test_init_imports_nothing_heavy_where_it_is_called(tmp_path: Path) -> None:
    """How long it takes is in benchmarks/log.py; what would make it long is seen here."""
    code = """
import sys
import headway
headway.init(project="digits", config={"lr": 0.1}, capture=False, console=False, system=False)
print(*sys.modules)
"""
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path / "x"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(HEAVY) & set(printed.stdout.split()) == set()


def test_init_waits_for_no_server(tmp_path: Path) -> None:
    """The address leads nowhere: packets to it are dropped, so that a wait would last until a timeout."""
    code = """
import time, headway
started = time.perf_counter()
run = headway.init(url="http://192.0.2.1:9", token="hw_x", capture=False)
for step in range(1000):
    run.log({"loss": 1.0}, step=step)
print(time.perf_counter() - started)
run.finish(timeout=0)
"""
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path / "x"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert float(printed.stdout) < 5
    assert "headway sync" in printed.stderr
