"""headway model register, update: making versions, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli.model_options import LabelOption, is_version
from headway.cli.options import JsonOption, ProjectOption, connected, pairs
from headway.cli.output import clean, print_json, say

if TYPE_CHECKING:
    from headway.domain.models import ModelSignature

MAX_SIGNATURE = 16 << 20


def register_commands(app: typer.Typer) -> None:
    app.command("register")(register)
    app.command("update")(update)


def register(
    name: Annotated[str, typer.Argument(help="The model's name; it is made when it is new.")],
    path: Annotated[str | None, typer.Argument(help="A file, or a folder with all that serving needs.")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source", help="Instead of a path: runs:/RUN/PATH, artifact:NAME:VERSION, s3://BUCKET/PREFIX, https://…"
        ),
    ] = None,
    version_name: Annotated[str | None, typer.Option("--version-name", help="What to call it, as 1.0.3.")] = None,
    model_type: Annotated[str | None, typer.Option("--type", help="What kind of model it is, in your words.")] = None,
    description: Annotated[str, typer.Option("--description", help="About this version.")] = "",
    alias: Annotated[list[str] | None, typer.Option("--alias", help="That names it from now on.")] = None,
    label: LabelOption = None,
    signature: Annotated[
        Path | None, typer.Option("--signature", help="A JSON file with inputs and outputs: name, dtype, shape.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="The run that made it.")] = None,
    job: Annotated[str | None, typer.Option("--job", help="The job that made it.")] = None,
    git_url: Annotated[str | None, typer.Option("--git-url", help="Where its code lies.")] = None,
    git_commit: Annotated[str | None, typer.Option("--git-commit", help="The commit of its code.")] = None,
    git_branch: Annotated[str | None, typer.Option("--git-branch", help="The branch of its code.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the next version of a model from files, or from what the server holds already."""
    git = {"url": git_url, "commit": git_commit, "branch": git_branch}
    fields: dict[str, Any] = {"model_type": model_type, "run": run, "job": job}
    read = None if signature is None else _read_signature(signature)
    with connected(project) as client:
        found = client.models.register(
            name,
            path,
            source=source,
            version_name=version_name,
            aliases=alias or [],
            labels=pairs(label or [], "--label"),
            signature=read,
            git=git if any(git.values()) else None,
            description=description,
            **{key: value for key, value in fields.items() if value is not None},
        )
    if as_json:
        print_json(found)
    else:
        say(clean(f"{found.id} {found.uri}" + (f" ({found.version_name})" if found.version_name else "")))


def update(
    model: Annotated[str, typer.Argument(help="A model, or a version of it: models:/NAME/3, NAME:1.0.3.")],
    description: Annotated[str | None, typer.Option("--description", help="What to say of it.")] = None,
    label: LabelOption = None,
    remove_label: Annotated[
        list[str] | None, typer.Option("--remove-label", metavar="KEY", help="A label that goes.")
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say something else of a model, or of a version; labels (a stage is one) belong to versions."""
    from headway.errors import InvalidRequestError

    labels: dict[str, str | None] = {**pairs(label or [], "--label"), **dict.fromkeys(remove_label or [])}
    if description is None and not labels:
        raise InvalidRequestError("Nothing to change.", hint="Give --description, --label or --remove-label.")
    changes: dict[str, Any] = {} if description is None else {"description": description}
    with connected(project) as client:
        if is_version(client, model):
            changes |= {"labels": labels} if labels else {}
            changed: Any = client.models.update_version(model, **changes)
            told = changed.uri
        elif labels:
            raise InvalidRequestError(
                f"{model!r} is a model, and labels belong to versions.", hint=f"Name one, as {model}:v3."
            )
        else:
            changed = client.models.update(model, **changes)
            told = changed.name
    if as_json:
        print_json(changed)
    else:
        say(clean(f"Changed {told}."))


def _read_signature(path: Path) -> ModelSignature:
    import json

    from headway.domain.base import parse_request
    from headway.domain.models import ModelSignature
    from headway.errors import InvalidRequestError

    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIGNATURE + 1)
        if len(data) > MAX_SIGNATURE:
            raise InvalidRequestError(f"The signature {str(path)!r} is larger than {MAX_SIGNATURE} bytes.")
        found = json.loads(data)
    except OSError as error:
        raise InvalidRequestError(f"Cannot read {str(path)!r}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{str(path)!r} is no JSON: {error}.") from None
    return parse_request(ModelSignature, found, what="The signature")
