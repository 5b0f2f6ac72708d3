"""What the commands of ``headway model`` share: arguments, and telling models from versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headway.sdk.client import Client

ModelArgument = Annotated[str, typer.Argument(help="Model id or name.")]
VersionArgument = Annotated[
    str,
    typer.Argument(
        help="A version: its id, models:/NAME/3, models:/NAME@alias, NAME:v3, NAME:1.0.3, or NAME for the newest."
    ),
]
LabelOption = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label, as stage=production.")
]


def is_version(client: Client, reference: str) -> bool:
    """Whether ``reference`` names one version, and not a model. A model of that very name comes first."""
    from headway.domain.base import is_id
    from headway.domain.model_references import SCHEME, parse_reference
    from headway.errors import NotFoundError

    if is_id(reference, "mv"):
        return True
    if not set(":@") & set(reference):
        return False
    if reference.startswith(SCHEME):
        return not parse_reference(reference).newest or _is_missing(client, reference.removeprefix(SCHEME))
    try:
        client.models.get(reference)
    except NotFoundError:
        return True
    return False


def _is_missing(client: Client, model: str) -> bool:
    from headway.errors import NotFoundError

    try:
        client.models.get(model)
    except NotFoundError:
        return True
    return False


def alias_text(aliases: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={version}" for name, version in sorted(aliases.items()))
