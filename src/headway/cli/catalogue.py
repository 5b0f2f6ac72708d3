"""headway catalogue: what can be chosen when something is trained or deployed."""

from __future__ import annotations

from typing import Annotated

import typer

from headway.cli.options import JsonOption, YesOption, confirm, connected
from headway.cli.output import print_fields, print_json, print_page, print_table, say

app = typer.Typer(
    help="Catalogues: machines, frameworks, preset algorithms and models, by name and number.", no_args_is_help=True
)
KindArgument = Annotated[
    str,
    typer.Argument(
        help="train-machine, development-machine, predict-machine, train-framework, development-framework, "
        "predict-framework, preset-algorithm or preset-model."
    ),
]
EntryArgument = Annotated[str, typer.Argument(help="The entry's number or name.")]


@app.command("list")
def list_all(
    kind: Annotated[str | None, typer.Argument(help="One catalogue; all without it.")] = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="Hidden entries too (server admins).")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what can be chosen."""
    with connected() as client:
        found = client.catalogue.list(kind, hidden=hidden)
    if as_json:
        print_page(found)
        return
    rows = [
        (e.kind.value, e.id, e.name, e.instance_type or e.algorithm or e.runtime or "", "yes" if e.hidden else "")
        for e in found
    ]
    print_table(("CATALOGUE", "ID", "NAME", "MEANS", "HIDDEN"), rows, empty="No entries.")


@app.command("show")
def show(kind: KindArgument, entry: EntryArgument, as_json: JsonOption = False) -> None:
    """Show an entry; of a preset algorithm its parameters too."""
    from headway.domain.algorithms import find_algorithm

    with connected() as client:
        found = client.catalogue.get(kind, entry)
    if as_json:
        print_json(found)
        return
    fields = found.model_dump(exclude_defaults=True, mode="json")
    print_fields({key: " ".join(value) if isinstance(value, list) else value for key, value in fields.items()})
    if found.algorithm is not None:
        say()
        rows = [
            (p.name, p.type, "" if p.default is None else p.default, p.description)
            for p in find_algorithm(found.algorithm).parameters
        ]
        print_table(("PARAMETER", "TYPE", "DEFAULT", "WHAT"), rows, empty="No parameters.")


@app.command("set")
def set_entry(
    kind: KindArgument,
    number: Annotated[int, typer.Argument(help="The entry's number.", min=1)],
    name: Annotated[str, typer.Argument(help="Its name.")],
    description: Annotated[str | None, typer.Option("--description", help="For people.")] = None,
    instance_type: Annotated[str | None, typer.Option("--instance-type", help="What a machine means.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="A framework's image.")] = None,
    command: Annotated[
        str | None, typer.Option("--command", help="What runs a program's file, as 'python -u'.")
    ] = None,
    runtime: Annotated[str | None, typer.Option("--runtime", help="What serves the files of a model.")] = None,
    algorithm: Annotated[str | None, typer.Option("--algorithm", help="Which algorithm a preset means.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Add or replace an entry (server admins)."""
    import shlex

    fields = {
        "description": description,
        "instance_type": instance_type,
        "image": image,
        "command": None if command is None else shlex.split(command),
        "runtime": runtime,
        "algorithm": algorithm,
    }
    given = {key: value for key, value in fields.items() if value is not None}
    with connected() as client:
        found = client.catalogue.set(kind, number, name, **given)
    if as_json:
        print_json(found)
    else:
        say(f"{found.kind.value} {found.id}: {found.name}")


@app.command("hide")
def hide(
    kind: KindArgument,
    entry: EntryArgument,
    show_again: Annotated[bool, typer.Option("--undo", help="Show it to everybody again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show an entry to admins only (server admins); what was made with it goes on."""
    with connected() as client:
        found = client.catalogue.hide(kind, entry, hidden=not show_again)
    if as_json:
        print_json(found)
    else:
        say(f"{found.kind.value} {found.id} {found.name}: {'hidden' if found.hidden else 'shown'}")


@app.command("delete")
def delete(kind: KindArgument, entry: EntryArgument, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Remove an entry (server admins)."""
    confirm(f"Delete the {kind} {entry!r} from the catalogue?", yes)
    with connected() as client:
        client.catalogue.delete(kind, entry)
    if as_json:
        print_json({"deleted": entry})
    else:
        say(f"Deleted {kind} {entry}.")
