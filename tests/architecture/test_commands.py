"""Every command helps, and speaks JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from headway.cli.main import app

WITHOUT_JSON = {"up", "serve-model", "gateway", "agent"}
"""Processes that run until they are stopped; what they print is for people and logs."""


def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from commands(child, f"{path} {name}".strip())


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_command_helps_and_speaks_json(name: str) -> None:
    command = ALL[name]
    assert command.help, f"{name} has no help"
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--json" in options) is (name not in WITHOUT_JSON)
    for parameter in command.params:
        assert getattr(parameter, "help", None) or parameter.name == "help", f"{name}: {parameter.name} has no help"


def test_what_destroys_asks_first() -> None:
    destructive = [name for name in ALL if name.endswith(" delete")]
    assert len(destructive) >= 7
    for name in destructive:
        assert any("--yes" in parameter.opts for parameter in ALL[name].params), name
