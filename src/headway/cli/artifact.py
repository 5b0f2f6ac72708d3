"""headway artifact: named, versioned sets of files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.gc import collect
from headway.cli.options import JsonOption, LimitOption, ProjectOption, YesOption, confirm, connected, pairs
from headway.cli.output import print_fields, print_json, print_page, print_table, say, size_text

if TYPE_CHECKING:
    from headway.domain.artifacts import ArtifactVersion

app = typer.Typer(help="Artifacts: named, versioned sets of files and references.", no_args_is_help=True)
ArtifactArgument = Annotated[str, typer.Argument(help="Artifact id or name.")]
VersionArgument = Annotated[
    str, typer.Argument(help="A version: its id, NAME:v3, NAME:latest, NAME:ALIAS, or NAME for the newest.")
]


@app.command("ls")
def ls(
    artifact: Annotated[
        str | None, typer.Argument(help="Show the versions of this one, or with :v3 its files.")
    ] = None,
    folder: Annotated[str | None, typer.Option("--folder", help="Only artifacts of this folder.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Versions that this run made.")] = None,
    project: ProjectOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List artifacts, the versions of one, or the files of a version."""
    if artifact is not None and ":" in artifact.removeprefix("artifact:"):
        _list_entries(artifact, project, limit, as_json)
    elif artifact is not None or run is not None:
        _list_versions(artifact, run, project, limit, as_json)
    else:
        _list_artifacts(folder, project, limit, as_json)


def _list_artifacts(folder: str | None, project: str | None, limit: int, as_json: bool) -> None:
    with connected(project) as client:
        found = list(client.artifacts.list(folder=folder, limit=limit or None))
    if as_json:
        print_page(found)
        return
    rows = [(a.id, a.name, a.type, a.folder, a.latest_version, _aliases(a.aliases), a.created_at) for a in found]
    print_table(("ID", "NAME", "TYPE", "FOLDER", "VERSION", "ALIASES", "AGE"), rows, empty="No artifacts.")


def _list_versions(artifact: str | None, run: str | None, project: str | None, limit: int, as_json: bool) -> None:
    with connected(project) as client:
        chosen = None if artifact is None else client.artifacts.get(artifact).id
        found = list(client.artifacts.versions(chosen, run=run, limit=limit or None))
    if as_json:
        print_page(found)
        return
    rows = [(v.id, f"{v.name}:v{v.version}", v.entries, size_text(v.size), v.run_id or "", v.created_at) for v in found]
    print_table(("ID", "VERSION", "ENTRIES", "SIZE", "RUN", "AGE"), rows, empty="No versions.")


def _list_entries(reference: str, project: str | None, limit: int, as_json: bool) -> None:
    from itertools import islice

    with connected(project) as client:
        found = list(islice(client.artifacts.entries(reference), limit or None))
    if as_json:
        print_page(found)
        return
    rows = [(e.path, e.uri if e.size is None else size_text(e.size), (e.digest or "")[:12]) for e in found]
    print_table(("PATH", "SIZE", "SHA-256"), rows, empty="No entries.")


def _aliases(aliases: dict[str, int]) -> str:
    return ", ".join(f"{name}=v{version}" for name, version in sorted(aliases.items()))


@app.command("put")
def put(
    name: Annotated[str, typer.Argument(help="The artifact's name; it is made when it is new.")],
    path: Annotated[Path, typer.Argument(help="A file, or a folder whose content is the artifact's.")],
    type_: Annotated[str, typer.Option("--type", help="A word for what it is, as dataset.")] = "artifact",
    folder: Annotated[str, typer.Option("--folder", help="The project's folder for an artifact that is new.")] = "",
    make_folder: Annotated[bool, typer.Option("--make-folder", help="Make that folder where it is missing.")] = False,
    conflict: Annotated[
        str | None, typer.Option("--conflict", help="When something else has the name: skip, error, new or replace.")
    ] = None,
    alias: Annotated[list[str] | None, typer.Option("--alias", help="Another name of the version; repeatable.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="KEY=VALUE, kept with it; repeatable.")] = None,
    reference: Annotated[
        list[str] | None, typer.Option("--reference", help="PATH=URI, kept as it is; repeatable.")
    ] = None,
    description: Annotated[str, typer.Option("--description", help="About this version.")] = "",
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Upload a file or folder as a version; the same content again is the same version."""
    with connected(project) as client:
        found = client.artifacts.upload(
            name,
            path,
            references=pairs(reference or [], "--reference"),
            type=type_,
            folder=folder,
            make_folder=make_folder,
            conflict_strategy=conflict,
            aliases=tuple(alias or ()),
            labels=pairs(label or [], "--label"),
            description=description,
        )
    if as_json:
        print_json(found)
    else:
        say(f"{found.id} {found.uri} ({found.outcome.value}, {found.entries} entries, {size_text(found.size)})")


@app.command("get")
def get(
    version: VersionArgument,
    directory: Annotated[Path | None, typer.Argument(help="Where to; without it the version is shown.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a version, or bring its files, their content checked; one that was interrupted goes on."""
    with connected(project) as client:
        found = client.artifacts.resolve(version)
        paths = client.artifacts.download(found, directory) if directory is not None else None
    if paths is not None and as_json:
        print_json({"items": [str(path) for path in paths]})
    elif paths is not None:
        say(f"{found.uri}: {len(paths)} file(s) in {directory}")
    elif as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: ArtifactVersion) -> None:
    print_fields(
        {
            "id": found.id,
            "version": found.uri,
            "type": found.type,
            "entries": found.entries,
            "size": size_text(found.size),
            "digest": found.digest,
            "labels": ", ".join(f"{key}={value}" for key, value in sorted(found.labels.items())),
            "description": found.description,
            "run": found.run_id or "",
            "created": found.created_at,
        }
    )


@app.command("verify")
def verify(
    version: VersionArgument,
    directory: Annotated[
        Path | None, typer.Argument(help="Look at the files here; without it at the server's.")
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Digest every file anew and compare; exit code 1 when one is missing or damaged."""
    with connected(project) as client:
        found = client.artifacts.verify(version, directory)
    if as_json:
        print_json({**found.model_dump(mode="json"), "ok": found.ok})
    else:
        for word, paths in (("missing", found.missing), ("damaged", found.damaged), ("unknown", found.unknown)):
            for path in paths:
                say(f"{word}: {path}")
        say(f"{found.version}: {found.checked} file(s) checked, {'all right' if found.ok else 'not all right'}")
    if not found.ok:
        raise typer.Exit(1)


@app.command("rm")
def rm(
    reference: Annotated[str, typer.Argument(help="An artifact with all its versions, or with :v3 one version.")],
    project: ProjectOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete an artifact or one version; `headway artifact gc` gives back the space."""
    with connected(project) as client:
        if ":" in reference.removeprefix("artifact:"):
            version = client.artifacts.resolve(reference)
            confirm(f"Delete {version.uri}?", yes)
            client.artifacts.delete_version(version.id)
            deleted = version.id
        else:
            found = client.artifacts.get(reference.removeprefix("artifact:"))
            confirm(
                f"Delete the artifact {found.name!r} with all its versions (the newest is v{found.latest_version})?",
                yes,
            )
            client.artifacts.delete(found.id)
            deleted = found.id
    if as_json:
        print_json({"deleted": deleted})
    else:
        say(f"Deleted {deleted}.")


@app.command("alias")
def alias(
    artifact: ArtifactArgument,
    name: Annotated[str, typer.Argument(help="The alias, as production.")],
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
            client.artifacts.delete_alias(artifact, name)
            found = client.artifacts.get(artifact)
        else:
            found = client.artifacts.set_alias(artifact, name, version)
    if as_json:
        print_json(found)
    else:
        say(f"{found.name}: {_aliases(found.aliases) or 'no aliases'}")


app.command("gc")(collect)
