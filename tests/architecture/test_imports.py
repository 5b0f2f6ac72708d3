"""``import headway`` is light, its names are there, and layers only look down."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import headway
from headway.errors import HeadwayError

ROOT = Path(__file__).parents[2]
HEAVY = (
    "fastapi",
    "sqlalchemy",
    "uvicorn",
    "numpy",
    "httpx",
    "pydantic",
    "yaml",
    "rich",
    "typer",
    "psutil",
    "tenacity",
)
LIMIT_SECONDS = 0.150
TRIES = 5


def in_a_fresh_interpreter(code: str) -> str:
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return found.stdout


def test_importing_headway_loads_nothing_heavy() -> None:
    code = "import json, sys; import headway; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    loaded = set(json.loads(in_a_fresh_interpreter(code)))
    assert loaded.isdisjoint(HEAVY)


def test_using_the_client_loads_no_server() -> None:
    code = (
        "import sys, headway; headway.Client('http://h'); print([m for m in sys.modules if m.startswith('headway.')])"
    )
    loaded = in_a_fresh_interpreter(code)
    for name in ("headway.server", "headway.storage", "headway.serving", "headway.agent", "headway.cli"):
        assert f"'{name}" not in loaded


def test_importing_headway_is_quick() -> None:
    code = "import time; t = time.perf_counter(); import headway; print(time.perf_counter() - t)"
    assert min(float(in_a_fresh_interpreter(code)) for _ in range(TRIES)) <= LIMIT_SECONDS


def test_help_needs_neither_client_nor_records() -> None:
    code = (
        "import sys; from headway.cli.main import run; run(['--help']);"
        "print('LOADED', [m for m in ('httpx', 'pydantic', 'yaml', 'headway.sdk.client') if m in sys.modules])"
    )
    assert in_a_fresh_interpreter(code).rstrip().endswith("LOADED []")


def test_public_names_are_sorted_and_importable() -> None:
    assert headway.__all__ == sorted(headway.__all__)
    for name in headway.__all__:
        assert getattr(headway, name) is not None
    assert set(headway.__all__) <= set(dir(headway))
    with pytest.raises(AttributeError, match="Clinet"):
        headway.Clinet  # type: ignore[attr-defined]  # noqa: B018


def tree(root: type[HeadwayError]) -> list[type[HeadwayError]]:
    return [root, *(found for child in root.__subclasses__() for found in tree(child))]


def test_every_error_has_a_code_of_its_own() -> None:
    ours = [error for error in tree(HeadwayError) if error.__module__ == "headway.errors"]
    codes = [error.code for error in ours]
    assert len(codes) == len(set(codes))
    assert all(100 <= error.status <= 599 for error in ours)


def test_layers_only_look_down() -> None:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    found = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stdout + found.stderr
