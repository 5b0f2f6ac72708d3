"""headway model show: a model with its versions, or the page of one version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli.model_options import alias_text, is_version
from headway.cli.options import JsonOption, LimitOption, ProjectOption, connected
from headway.cli.output import print_fields, print_json, print_table, say, size_text

if TYPE_CHECKING:
    from headway.domain.models import GitInfo, Model, ModelVersion
    from headway.sdk.model_pages import ModelVersionPage


def register(app: typer.Typer) -> None:
    app.command("show")(show)


def show(
    model: Annotated[
        str, typer.Argument(help="A model's id or name, or a version: models:/NAME/3, NAME@alias, NAME:1.0.3.")
    ],
    project: ProjectOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """Show a model and its versions, or a version: files, signature, where it came from, who uses it."""
    with connected(project) as client:
        if is_version(client, model):
            page = client.models.describe(model)
            if as_json:
                print_json(page_json(page))
            else:
                _print_page(page, limit)
            return
        found = client.models.get(model)
        versions = [] if as_json else list(client.models.versions(found.id, limit=limit or None))
    if as_json:
        print_json(found)
    else:
        _print_model(found, versions)


def page_json(page: ModelVersionPage) -> dict[str, Any]:
    """The version as the API answers it, and beside its fields what is around it."""
    whole = page.model_dump(mode="json")
    return {**whole.pop("version"), **whole}


def _print_model(found: Model, versions: list[ModelVersion]) -> None:
    print_fields(
        {"id": found.id, "name": found.name, "description": found.description, "aliases": alias_text(found.aliases)}
    )
    say()
    rows = [
        (v.version, v.version_name, v.id, v.model_type, v.runtime or "none", size_text(v.size), v.created_at)
        for v in versions
    ]
    print_table(("VERSION", "CALLED", "ID", "TYPE", "RUNTIME", "SIZE", "AGE"), rows, empty="No versions.")


def _print_page(page: ModelVersionPage, limit: int) -> None:
    version = page.version
    print_fields(_fields(page))
    say()
    shown = version.files[: limit or None]
    print_table(("FILE", "SIZE", "SHA-256"), [(f.path, size_text(f.size), f.digest) for f in shown], empty="")
    if len(shown) < len(version.files):
        say(f"… and {len(version.files) - len(shown)} more files; --limit 0 shows all")
    _print_signature(version)
    _print_pairs("PARAMETER", version.parameters, limit)
    _print_pairs("METRIC", version.metrics, limit)
    if page.data:
        say()
        print_table(("DATA", "SHA-256"), [(used.name, used.digest) for used in page.data], empty="")
    if page.deployments:
        say()
        rows = [(each.name, each.state, _weight(page, each)) for each in page.deployments]
        print_table(("DEPLOYMENT", "STATE", "WEIGHT"), rows, empty="")


def _fields(page: ModelVersionPage) -> dict[str, Any]:
    version, run, job = page.version, page.run, page.job
    return {
        "uri": version.uri,
        "called": version.version_name,
        "id": version.id,
        "aliases": ", ".join(page.aliases),
        "labels": ", ".join(f"{key}={value}" for key, value in sorted(version.labels.items())),
        "description": version.description,
        "type": version.model_type,
        "runtime": version.runtime or "none",
        "size": size_text(version.size),
        "digest": version.digest,
        "source": version.source,
        "run": version.run_id if run is None else f"{run.name} ({run.id})",
        "job": version.job_id if job is None else f"{job.name} ({job.id}), {job.state.value}",
        "code": _code(page.code),
        "created": version.created_at,
    }


def _code(git: GitInfo | None) -> str:
    if git is None:
        return ""
    parts = [git.url, git.commit, git.branch and f"on {git.branch}", "with local changes" if git.dirty else None]
    return " ".join(part for part in parts if part)


def _print_signature(version: ModelVersion) -> None:
    from headway.sdk.model_diff import tensor_text

    if version.signature is None:
        return
    sides = (("input", version.signature.inputs), ("output", version.signature.outputs))
    rows = [(side, spec.name, tensor_text(spec)) for side, specs in sides for spec in specs]
    if rows:
        say()
        print_table(("SIGNATURE", "NAME", "TYPE"), rows, empty="")


def _print_pairs(title: str, values: Mapping[str, Any], limit: int) -> None:
    if not values:
        return
    from headway.sdk.compare import value_text

    say()
    shown = list(values.items())[: limit or None]
    print_table((title, "VALUE"), [(key, value_text(value)) for key, value in shown], empty="")
    if len(shown) < len(values):
        say(f"… and {len(values) - len(shown)} more; --limit 0 shows all")


def _weight(page: ModelVersionPage, deployment: Any) -> str:
    for deployed in deployment.versions:
        if deployed.model_version_id == page.version.id:
            return "shadow" if deployed.shadow else f"{deployed.weight}%"
    return ""
