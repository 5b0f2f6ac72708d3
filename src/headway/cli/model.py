"""headway model: what can be served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headway.cli.options import JsonOption, LimitOption, ProjectOption, YesOption, confirm, connected
from headway.cli.output import print_fields, print_json, print_page, print_table, say, size_text

app = typer.Typer(help="Models and their versions.", no_args_is_help=True)
ModelArgument = Annotated[str, typer.Argument(help="Model id or name.")]
VersionArgument = Annotated[
    str, typer.Argument(help="A version: its id, models:/NAME/3, models:/NAME@alias, NAME:v3, or NAME for the newest.")
]


@app.command("list")
def list_all(
    project: ProjectOption = None,
    job: Annotated[str | None, typer.Option("--job", help="Versions that this job left.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List models, newest first; with --job the versions that a job left."""
    with connected(project) as client:
        if job is not None:
            versions = list(client.models.versions(job=job, limit=limit or None))
            found: list[object] = [*versions]
            rows = [(v.id, v.name, v.version, v.runtime or "none", v.created_at) for v in versions]
        else:
            models = list(client.models.list(limit=limit or None))
            found = [*models]
            rows = [(m.id, m.name, m.latest_version, _aliases(m.aliases), m.created_at) for m in models]
    if as_json:
        print_page(found)  # type: ignore[arg-type]
        return
    columns = ("ID", "NAME", "VERSION", "RUNTIME" if job is not None else "ALIASES", "AGE")
    print_table(columns, rows, empty="No models.")


def _aliases(aliases: dict[str, int]) -> str:
    return ", ".join(f"{name}={version}" for name, version in sorted(aliases.items()))


@app.command("show")
def show(
    model: ModelArgument, project: ProjectOption = None, limit: LimitOption = 50, as_json: JsonOption = False
) -> None:
    """Show a model; without --json its versions too."""
    with connected(project) as client:
        found = client.models.get(model)
        versions = [] if as_json else list(client.models.versions(found.id, limit=limit or None))
    if as_json:
        print_json(found)
        return
    print_fields(
        {"id": found.id, "name": found.name, "description": found.description, "aliases": _aliases(found.aliases)}
    )
    say()
    rows = [(v.version, v.id, v.model_type, v.runtime or "none", size_text(v.size), v.created_at) for v in versions]
    print_table(("VERSION", "ID", "TYPE", "RUNTIME", "SIZE", "AGE"), rows, empty="No versions.")


@app.command("register")
def register(
    name: Annotated[str, typer.Argument(help="The model's name; it is made when it is new.")],
    path: Annotated[Path, typer.Argument(help="A file, or a folder with all that serving needs.")],
    model_type: Annotated[str | None, typer.Option("--type", help="What kind of model it is, in your words.")] = None,
    description: Annotated[str, typer.Option("--description", help="About this version.")] = "",
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Upload files as the next version of a model."""
    with connected(project) as client:
        found = client.models.register(name, path, model_type=model_type, description=description)
    if as_json:
        print_json(found)
    else:
        say(f"{found.id} {found.uri}")


@app.command("alias")
def alias(
    model: ModelArgument,
    name: Annotated[str, typer.Argument(help="The alias, as champion.")],
    version: Annotated[int | None, typer.Argument(help="The version that it names from now on.")] = None,
    delete_it: Annotated[bool, typer.Option("--delete", help="Forget the alias.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let an alias name a version, or forget it."""
    from headway.errors import InvalidRequestError

    if delete_it == (version is not None):
        raise InvalidRequestError("An alias needs either a version or --delete.")
    with connected(project) as client:
        if version is None:
            client.models.delete_alias(model, name)
            found = client.models.get(model)
        else:
            found = client.models.set_alias(model, name, version)
    if as_json:
        print_json(found)
    else:
        say(f"{found.name}: {_aliases(found.aliases) or 'no aliases'}")


@app.command("delete")
def delete(
    model: ModelArgument, project: ProjectOption = None, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Delete a model with all its versions."""
    with connected(project) as client:
        found = client.models.get(model)
        confirm(f"Delete the model {found.name!r} with {found.latest_version} version(s)?", yes)
        client.models.delete(found.id)
    if as_json:
        print_json({"deleted": found.id})
    else:
        say(f"Deleted {found.id}.")


@app.command("download")
def download(
    version: VersionArgument,
    directory: Annotated[Path, typer.Argument(help="Where to; made where it is missing.")],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the files of a model version, their digests checked."""
    with connected(project) as client:
        paths = client.models.download(version, directory)
    if as_json:
        print_json({"items": [str(path) for path in paths]})
    else:
        for path in paths:
            say(str(path))
