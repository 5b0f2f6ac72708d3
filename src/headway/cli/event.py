"""headway event: everything that happened."""

from __future__ import annotations

from typing import Annotated

import typer

from headway.cli.following import print_event
from headway.cli.options import FollowOption, JsonOption, ProjectOption, connected
from headway.cli.output import note, print_page

app = typer.Typer(help="Events: everything that happened.", no_args_is_help=True)


@app.command("list")
def list_all(
    project: ProjectOption = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only those of this job or other thing.")] = None,
    type_name: Annotated[
        str | None, typer.Option("--type", help="Only those of this type, as job.state_changed.")
    ] = None,
    after: Annotated[int, typer.Option("--after", min=0, help="Begin after this sequence number.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Show at most so many; 0 shows all.")] = 200,
    follow: FollowOption = False,
    as_json: JsonOption = False,
) -> None:
    """List events, oldest first; with --follow (and --json: one a line) those to come too."""
    with connected(project) as client:
        if follow:
            for event in client.events.stream(subject=subject, type=type_name, after=after):
                print_event(event, as_json)
            return
        found = list(client.events.list(subject=subject, type=type_name, after=after, limit=limit or None))
    if as_json:
        print_page(found)
        return
    for event in found:
        print_event(event, as_json=False)
    if not found:
        note("No events.")
