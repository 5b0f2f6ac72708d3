"""headway instance-type: named sizes of machine."""

from __future__ import annotations

from typing import Annotated

import typer

from headway.cli.options import JsonOption, YesOption, confirm, connected, pairs
from headway.cli.output import print_json, print_page, print_table, say

app = typer.Typer(help="Instance types: named sizes of machine.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="The instance type's name.")]


@app.command("list")
def list_all(as_json: JsonOption = False) -> None:
    """List the sizes that jobs and deployments may ask for."""
    with connected() as client:
        found = client.instance_types.list()
    if as_json:
        print_page(found)
        return
    rows = [
        (t.name, f"{t.cpu:g}", t.memory_mb or "", t.gpu or "", t.alias_of, "yes" if t.default else "") for t in found
    ]
    print_table(("NAME", "CPU", "MEMORY MiB", "GPU", "ALIAS OF", "DEFAULT"), rows, empty="No instance types.")


@app.command("set")
def set_type(
    name: NameArgument,
    cpu: Annotated[float | None, typer.Option("--cpu", help="Cores.")] = None,
    memory: Annotated[int | None, typer.Option("--memory", help="MiB.")] = None,
    gpu: Annotated[int | None, typer.Option("--gpu", help="Whole GPUs.")] = None,
    alias_of: Annotated[str | None, typer.Option("--alias-of", help="Take the size of another one.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Repeatable.")] = None,
    description: Annotated[str | None, typer.Option("--description", help="For people.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Create or replace an instance type (server admins)."""
    fields = {
        "cpu": cpu,
        "memory_mb": memory,
        "gpu": gpu,
        "alias_of": alias_of,
        "labels": pairs(label or [], "--label") or None,
        "description": description,
    }
    with connected() as client:
        found = client.instance_types.set(name, **{key: value for key, value in fields.items() if value is not None})
    if as_json:
        print_json(found)
    else:
        say(f"{found.name}: {found.cpu:g} cores, {found.memory_mb} MiB, {found.gpu} GPUs")


@app.command("delete")
def delete(name: NameArgument, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Remove an instance type (server admins)."""
    confirm(f"Delete the instance type {name!r}?", yes)
    with connected() as client:
        client.instance_types.delete(name)
    if as_json:
        print_json({"deleted": name})
    else:
        say(f"Deleted {name}.")
