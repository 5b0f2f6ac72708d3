"""headway lineage: what came from what."""

from __future__ import annotations

from typing import Annotated

import typer

from headway.cli.options import JsonOption, ProjectOption, connected
from headway.cli.output import clean, print_json, say


def register(app: typer.Typer) -> None:
    app.command("lineage")(lineage)


def lineage(
    subject: Annotated[
        str,
        typer.Argument(help="An id, artifact:NAME:v3, models:/NAME/3, or the name of a deployment."),
    ],
    direction: Annotated[
        str, typer.Option("--direction", help="What it was made of (up), what was made of it (down), or both.")
    ] = "both",
    depth: Annotated[int, typer.Option("--depth", min=1, max=100, help="How many steps to follow.")] = 10,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what something was made of, and what was made of it."""
    with connected(project) as client:
        found = client.lineage(subject, direction=direction, depth=depth)
    if as_json:
        print_json(found)
        return
    for line in found.tree().split("\n"):
        say(clean(line))
