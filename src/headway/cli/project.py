"""headway project: groups of work, and who may see them."""

from __future__ import annotations

from typing import Annotated

import typer

from headway.cli.options import JsonOption, LimitOption, ProjectOption, YesOption, confirm, connected
from headway.cli.output import print_fields, print_json, print_page, print_table, say

app = typer.Typer(help="Projects and their members.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Project id or name.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Unique on the server.")],
    description: Annotated[str, typer.Option("--description", help="What it is about.")] = "",
    repository_name: Annotated[str | None, typer.Option("--repository-name", help="Of its source code.")] = None,
    repository_url: Annotated[str | None, typer.Option("--repository-url", help="Of its source code.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a project; you become its admin."""
    fields = {"description": description, "repository_name": repository_name, "repository_url": repository_url}
    with connected() as client:
        found = client.projects.create(name, **{key: value for key, value in fields.items() if value})
    if as_json:
        print_json(found)
    else:
        say(found.id)


@app.command("list")
def list_all(limit: LimitOption = 100, as_json: JsonOption = False) -> None:
    """List the projects that you may see."""
    with connected() as client:
        found = list(client.projects.list(limit=limit or None))
    if as_json:
        print_page(found)
        return
    rows = [(p.id, p.name, p.created_at, p.description) for p in found]
    print_table(
        ("ID", "NAME", "AGE", "DESCRIPTION"), rows, empty="No projects. Make one with `headway project create`."
    )


@app.command("show")
def show(project: NameArgument, as_json: JsonOption = False) -> None:
    """Show one project."""
    with connected() as client:
        found = client.projects.get(project)
    if as_json:
        print_json(found)
    else:
        print_fields(found.model_dump())


@app.command("delete")
def delete(project: NameArgument, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Delete a project that holds nothing any more."""
    with connected() as client:
        found = client.projects.get(project)
        confirm(f"Delete the project {found.name!r}?", yes)
        client.projects.delete(found.id)
    if as_json:
        print_json({"deleted": found.id})
    else:
        say(f"Deleted {found.id}.")


@app.command("members")
def members(
    project: ProjectOption = None,
    set_role: Annotated[
        str | None, typer.Option("--set", metavar="USER=ROLE", help="Give a role: viewer, member or admin.")
    ] = None,
    remove: Annotated[str | None, typer.Option("--remove", metavar="USER", help="Take a role away.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the members of a project, after setting or removing one."""
    from headway.errors import InvalidRequestError

    with connected(project) as client:
        if set_role is not None:
            user, marker, role = set_role.rpartition("=")
            if not marker:
                raise InvalidRequestError(f"--set {set_role}: it names no role.", hint="Write --set USER=member.")
            client.projects.set_member(user, role)
        if remove is not None:
            client.projects.remove_member(remove)
        found = client.projects.members()
    if as_json:
        print_page(found)
        return
    rows = [(member.user_name, member.role, member.user_id) for member in found]
    print_table(("USER", "ROLE", "ID"), rows, empty="No members.")
