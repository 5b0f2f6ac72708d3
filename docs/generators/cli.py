"""docs/reference/cli.md: every command with its options, as typer knows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from generators.markdown import code, prose, table
from headway.cli import errors
from headway.cli.main import app


def page() -> str:
    parts = ["# The command `headway`\n", _introduction(), _contents()]
    parts += [_command(words, command) for words, command in commands()]
    return "\n".join(parts)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that is not hidden, with the words that call it, groups left out."""
    yield from _below("headway", typer.main.get_command(app))


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield words, command
        return
    for name, child in children.items():
        if not child.hidden:
            yield from _below(f"{words} {name}", child)


def _introduction() -> str:
    text = (errors.__doc__ or "").partition("====")[2]
    rows = [line.split(maxsplit=1) for line in text.splitlines() if line[:1].isdigit()]
    return (
        "Every command takes `--help`. `--json` prints what the API answers, for programs. Which server is asked, and\n"
        "with which token, is in [environment.md](environment.md).\n\nExit codes:\n\n"
        + table(("code", "meaning"), [(number, prose(meaning)) for number, meaning in rows])
    )


def _contents() -> str:
    rows = [(f"[`{words}`](#{words.replace(' ', '-')})", _summary(command)) for words, command in commands()]
    return table(("command", "what it does"), rows)


def _summary(command: Any) -> str:
    return prose(command.help).split("\n\n")[0].replace("\n", " ")


def _command(words: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join([words, *(["[OPTIONS]"] if options else []), *(_shown_argument(p) for p in arguments)])
    rows = [(code(_shown_argument(p)), p.help or "") for p in arguments]
    rows += [(code(_shown_option(p)), _about(p)) for p in options]
    parts = [f"## {words}\n", f"    {usage}\n", prose(command.help) + "\n"]
    if rows:
        parts.append(table(("argument or option", "what it is"), rows))
    return "\n".join(parts)


def _shown_argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def _shown_option(parameter: Any) -> str:
    words = ", ".join([*parameter.opts, *parameter.secondary_opts])
    if getattr(parameter, "is_flag", False):
        return words
    return f"{words} {parameter.metavar or _kind(parameter)}"


def _about(parameter: Any) -> str:
    default = parameter.default
    shown = "" if default in (None, False, "", ()) or callable(default) else f" Default: `{default}`."
    needed = " Required." if parameter.required else ""
    variable = f" Also `{parameter.envvar}`." if parameter.envvar else ""
    return f"{parameter.help or ''}{shown}{needed}{variable}"


def _kind(parameter: Any) -> str:
    """TEXT, NUMBER or PATH: what the option takes."""
    annotation = str(parameter.type_descriptor.annotation)
    if "Path" in annotation:
        return "PATH"
    return "NUMBER" if "int" in annotation or "float" in annotation else "TEXT"
