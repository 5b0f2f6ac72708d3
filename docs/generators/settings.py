"""docs/reference/settings.md: what a server is started with."""

from __future__ import annotations

from typing import Any

import typer

from generators.markdown import attribute_notes, code, table
from headway.cli.main import app
from headway.server.settings import ServerSettings


def page() -> str:
    return "\n".join(
        [
            "# Settings of the server\n",
            "What `headway up` lets one choose. Nothing changes after the start, and there is no settings file.\n",
            table(("setting", "option", "default", "meaning"), [_row(name) for name in ServerSettings.model_fields]),
        ]
    )


def _row(name: str) -> tuple[str, ...]:
    field, option = ServerSettings.model_fields[name], _options().get(name)
    flag = ", ".join(option.opts) if option is not None else ""
    variable = f" (or `{option.envvar}`)" if option is not None and option.envvar else ""
    default = {None: "", (): "", False: "no"}.get(field.default, str(field.default))
    meaning = attribute_notes(ServerSettings).get(name) or (option.help if option is not None else "")
    return code(name), (code(flag) or "none") + variable, code(default), meaning.partition(" (default")[0]


def _options() -> dict[str, Any]:
    """Setting to the option of ``headway up`` that sets it."""
    command: Any = typer.main.get_command(app)
    found = {parameter.name: parameter for parameter in command.commands["up"].params}
    return {**found, "allowed_hosts": found["allowed_host"]}
