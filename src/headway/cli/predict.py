"""headway predict: ask an endpoint."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from headway.cli.options import JsonOption, ProjectOption, TimeoutOption, connected
from headway.cli.output import print_json

MAX_INPUT = 64 * 1024 * 1024
SHAPE_HINT = """Write {"inputs": …} or {"instances": […]}."""
FORMS = ("inputs", "instances", "dataframe_split", "dataframe_records")


def register(app: typer.Typer) -> None:
    app.command("predict")(predict)


def predict(
    deployment: Annotated[str, typer.Argument(help="Deployment id or name.")],
    data: Annotated[str | None, typer.Option("--data", "-d", help='JSON: {"inputs": …} or {"instances": […]}.')] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A file with that JSON; - is standard input.")] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Only this version, as v3 or an alias; else the weights decide.")
    ] = None,
    timeout: TimeoutOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,  # noqa: ARG001 - the answer is JSON either way
) -> None:
    """Post to a deployment's endpoint and print its answer as JSON."""
    from headway.sdk import wire
    from headway.sdk.endpoints import encode_input

    body = encode_input(_body(data, file))
    with connected(project) as client:
        answer, address = client.deployments.ask(deployment, body, version=version, timeout=timeout)
    print_json(wire.decode(answer.content, address))


def _body(data: str | None, file: Path | None) -> dict[str, Any]:
    from headway.errors import InvalidRequestError

    if (data is None) == (file is None):
        raise InvalidRequestError("A prediction needs either --data or --file.", hint=SHAPE_HINT)
    text = data if data is not None else _read(file)
    try:
        body = json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The input is not JSON: {error}.", hint=SHAPE_HINT) from None
    if not isinstance(body, dict) or len(body) != 1 or not set(body) <= set(FORMS):
        raise InvalidRequestError("The input has neither the column form nor the row form.", hint=SHAPE_HINT)
    return body


def _read(file: Path | None) -> str:
    from headway.documents import read_text

    if file is None or str(file) == "-":
        return sys.stdin.read(MAX_INPUT)
    return read_text(file, limit=MAX_INPUT)
