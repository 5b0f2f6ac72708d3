"""Process entry points: what the platform starts by itself, and what one may start by hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer

HostOption = Annotated[str | None, typer.Option("--host", help="Address to listen on.")]
PortOption = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes any free one.")]


def register(app: typer.Typer) -> None:
    app.command("serve-model")(serve_model)
    app.command("gateway")(gateway)
    app.command("agent", hidden=True)(agent)


def serve_model(
    model_dir: Annotated[Path | None, typer.Option("--model-dir", help="The model's files.")] = None,
    host: HostOption = None,
    port: PortOption = None,
    name: Annotated[str | None, typer.Option("--name", help="What the endpoint calls the model.")] = None,
    version: Annotated[int | None, typer.Option("--version", help="Its version number.")] = None,
) -> None:
    """Serve one model over HTTP, as a replica of a deployment does.

    What is not given comes from HEADWAY_MODEL_DIR, HOST, PORT, HEADWAY_MODEL_NAME and HEADWAY_MODEL_VERSION.
    """
    from headway.serving.__main__ import main

    options = {"--model-dir": model_dir, "--host": host, "--port": port, "--name": name, "--version": version}
    _leave(main(_arguments(options)))


def gateway(
    directory: Annotated[Path, typer.Option("--directory", help="Where its token and last routes are kept.")],
    host: HostOption = None,
    port: PortOption = None,
) -> None:
    """Run the gateway that stands in front of all deployments."""
    from headway.serving.gateway.__main__ import main

    _leave(main(_arguments({"--directory": directory, "--host": host, "--port": port})))


def agent(directory: Annotated[Path, typer.Argument(help="The replica's directory, with spec.json in it.")]) -> None:
    """Supervise one replica."""
    import runpy

    sys.argv = ["headway agent", str(directory)]
    runpy.run_module("headway.agent", run_name="__main__", alter_sys=True)


def _arguments(options: Mapping[str, object]) -> list[str]:
    return [part for key, value in options.items() if value is not None for part in (key, str(value))]


def _leave(code: int | None) -> NoReturn:
    """End at once: a prediction that does not return must not hold up the end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0))
