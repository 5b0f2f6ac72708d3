"""headway model: what can be served. Making versions and the page of one are in model_register.py and model_show.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli import model_register, model_show
from headway.cli.model_options import ModelArgument, VersionArgument, alias_text, is_version
from headway.cli.options import JsonOption, LimitOption, ProjectOption, YesOption, confirm, connected
from headway.cli.output import clean, print_json, print_page, print_table, say

if TYPE_CHECKING:
    from headway.sdk.client import Client
    from headway.sdk.model_diff import ModelDiff

app = typer.Typer(help="Models and their versions.", no_args_is_help=True)
model_register.register_commands(app)
model_show.register(app)


@app.command("list")
def list_all(
    contains: Annotated[str | None, typer.Argument(metavar="[PART]", help="Only what has this in its name.")] = None,
    versions: Annotated[bool, typer.Option("--versions", help="List versions, not models.")] = False,
    job: Annotated[str | None, typer.Option("--job", help="Versions that this job left.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Versions that this run made.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Versions with this label.")
    ] = None,
    alias: Annotated[str | None, typer.Option("--alias", help="Versions that this alias names.")] = None,
    version_name: Annotated[str | None, typer.Option("--version-name", help="Versions of this name.")] = None,
    project: ProjectOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List models, or with --versions or one of the filters versions; newest first."""
    from headway.cli.options import pairs

    labels = pairs(label or [], "--label")
    filters: dict[str, Any] = {"job": job, "run": run, "alias": alias, "version_name": version_name}
    with connected(project) as client:
        if versions or labels or any(value is not None for value in filters.values()):
            _list_versions(client, {**filters, "label": labels or None, "name": contains}, limit, as_json)
        else:
            _list_models(client, contains, limit, as_json)


def _list_models(client: Client, contains: str | None, limit: int, as_json: bool) -> None:
    found = list(client.models.list(contains=contains, limit=limit or None))
    if as_json:
        print_page(found)
        return
    rows = [(m.id, m.name, m.latest_version, alias_text(m.aliases), m.created_at) for m in found]
    print_table(("ID", "NAME", "VERSION", "ALIASES", "AGE"), rows, empty="No models.")


def _list_versions(client: Client, filters: dict[str, Any], limit: int, as_json: bool) -> None:
    found = list(client.models.versions(**filters, limit=limit or None))
    if as_json:
        print_page(found)
        return
    rows = [(v.id, v.name, v.version, v.version_name, v.runtime or "none", v.created_at) for v in found]
    print_table(("ID", "NAME", "VERSION", "CALLED", "RUNTIME", "AGE"), rows, empty="No versions.")


@app.command("alias")
def alias(
    model: ModelArgument,
    name: Annotated[str, typer.Argument(help="The alias, as champion.")],
    version: Annotated[str | None, typer.Argument(help="The version that it names from now on: 3, v3, 1.0.3.")] = None,
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
            owner = client.models.get(model)
            chosen = client.models.version(f"{owner.name}:{version}", project=owner.project_id)
            found = client.models.set_alias(owner.id, name, chosen.version)
    if as_json:
        print_json(found)
    else:
        say(clean(f"{found.name}: {alias_text(found.aliases) or 'no aliases'}"))


@app.command("promote")
def promote(
    version: VersionArgument,
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="What to call it.")] = "champion",
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let an alias (champion) name this version from now on."""
    with connected(project) as client:
        found = client.models.promote(version, name)
    if as_json:
        print_json(found)
    else:
        say(clean(f"{found.name}@{name} is {found.uri}"))


@app.command("diff")
def diff(a: VersionArgument, b: VersionArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Show what differs between two versions: files, signature, parameters, metrics, labels and git."""
    with connected(project) as client:
        found = client.models.diff(a, b)
    if as_json:
        print_json(found.to_dict())
    else:
        _print_diff(found)


def _print_diff(found: ModelDiff) -> None:
    from headway.sdk.model_diff import SECTIONS

    for side, version in (("a", found.a), ("b", found.b)):
        say(clean(f"{side}  {version.uri} {version.version_name or ''}".rstrip()))
    if not found:
        say("Nothing differs.")
    rows = [*found.rows()]
    for section in SECTIONS:
        shown = [(key, one, other) for place, key, one, other in rows if place == section]
        if shown:
            say()
            print_table((section.upper(), "A", "B"), shown, empty="")


@app.command("delete")
def delete(
    model: Annotated[str, typer.Argument(help="A model's id or name, or a version of it: models:/NAME/3, NAME:1.0.3.")],
    project: ProjectOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a model with all its versions, or one version; not while a deployment uses it."""
    with connected(project) as client:
        if is_version(client, model):
            version = client.models.version(model)
            confirm(f"Delete {version.uri}?", yes)
            client.models.delete_version(version)
            deleted = version.id
        else:
            found = client.models.get(model)
            confirm(f"Delete the model {found.name!r} with {found.latest_version} version(s)?", yes)
            client.models.delete(found.id)
            deleted = found.id
    if as_json:
        print_json({"deleted": deleted})
    else:
        say(f"Deleted {deleted}.")


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
