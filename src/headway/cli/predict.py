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
SHAPE_HINT = """Write {"inputs": …} or {"instances": […]}, or any JSON that the model takes."""
CSV_SUFFIX = ".csv"
CSV_TYPE = "text/csv"
FRAMES = ("dataframe_split", "dataframe_records")


def register(app: typer.Typer) -> None:
    app.command("predict")(predict)


def predict(
    deployment: Annotated[str, typer.Argument(help="Deployment id or name.")],
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help='JSON: {"inputs": …}, {"instances": […]}, or what the model takes.'),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A file with that JSON, or a table (.csv); - is standard input.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol", help="tensorflow, openinference, invocations or plain; without it the body's form tells."
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="The input is CSV with a line of names.")] = False,
    version: Annotated[
        str | None, typer.Option("--version", help="Only this version, as v3 or an alias; else the weights decide.")
    ] = None,
    timeout: TimeoutOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,  # noqa: ARG001 - the answer is JSON either way
) -> None:
    """Post to a deployment's endpoint and print its answer as JSON."""
    from headway.sdk import wire
    from headway.sdk.endpoints import check_protocol

    as_table = csv or (file is not None and file.suffix.lower() == CSV_SUFFIX)
    text = _text(data, file)
    if as_table:
        protocol = _protocol_of_table(protocol)
    elif protocol is None:
        protocol = _protocol_of(_document(text), version)
    else:
        _document(text)
    check_protocol(protocol, version)
    headers = {"Content-Type": CSV_TYPE} if as_table else None
    body = _encoded(text)
    with connected(project) as client:
        answer, address = client.deployments.ask(
            deployment, body, version=version, timeout=timeout, protocol=protocol, headers=headers
        )
    print_json(wire.decode(answer.content, address))


def _protocol_of_table(protocol: str | None) -> str:
    from headway.errors import InvalidRequestError

    if protocol not in (None, "invocations"):
        raise InvalidRequestError(f"The protocol {protocol} takes no CSV.", hint="Use --protocol invocations.")
    return "invocations"


def _protocol_of(document: Any, version: str | None) -> str | None:
    """The protocol that can ask for ``version`` in the form that ``document`` has; None where the endpoint finds it out."""
    from headway.errors import InvalidRequestError

    if version is None:
        return None
    fields = document if isinstance(document, dict) else {}
    inputs = fields.get("inputs")
    if isinstance(inputs, list) and inputs and all(isinstance(each, dict) and "datatype" in each for each in inputs):
        return "openinference"
    if "inputs" in fields or "instances" in fields:
        return "tensorflow"
    what = "A data frame" if any(name in fields for name in FRAMES) else "Plain JSON"
    raise InvalidRequestError(
        f"{what} cannot be sent to one version.",
        hint="""Write {"inputs": …} or {"instances": […]}, or leave --version out.""",
    )


def _text(data: str | None, file: Path | None) -> str:
    from headway.documents import read_text
    from headway.errors import InvalidRequestError

    if (data is None) == (file is None):
        raise InvalidRequestError("A prediction needs either --data or --file.", hint=SHAPE_HINT)
    if data is not None:
        return data
    if file is None or str(file) == "-":
        return sys.stdin.read(MAX_INPUT)
    return read_text(file, limit=MAX_INPUT)


def _document(text: str) -> Any:
    from headway.errors import InvalidRequestError

    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The input is not JSON: {error}.", hint=SHAPE_HINT) from None


def _encoded(text: str) -> bytes:
    """The text as it was given: reading and writing it anew would round numbers."""
    from headway.errors import InvalidRequestError

    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError("The input is not UTF-8.") from None
