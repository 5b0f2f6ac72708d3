"""headway up: the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    app.command("up")(up)


def up(
    data: Annotated[
        Path | None, typer.Option("--data", help="Where everything is kept (default: .headway/server).")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes any free one (default: 8473)."),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url",
            envvar="HEADWAY_DATABASE_URL",
            help="postgresql://… instead of SQLite; better in the variable, where others do not see its password.",
        ),
    ] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="Where jobs run (default: local).")] = None,
    containers: Annotated[
        str | None, typer.Option("--containers", help="How a job's image is honoured (default: process).")
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option("--allowed-host", help="A further host name that requests may use; repeatable.")
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen beyond this machine: whoever has a token runs code here.")
    ] = False,
    fetch_network: Annotated[
        list[str] | None,
        typer.Option(
            "--fetch-network", help="A private network (10.0.0.0/8) that https:// inputs may be on; repeatable."
        ),
    ] = None,
    keep_failed_hours: Annotated[
        float | None,
        typer.Option(
            "--keep-failed-hours", min=0, help="How long workspaces of failed attempts are kept (default: 24)."
        ),
    ] = None,
    keep_environments: Annotated[
        int | None,
        typer.Option(
            "--keep-environments", min=0, help="How many environments of models' own packages stay (default: 16)."
        ),
    ] = None,
    run_lost_seconds: Annotated[
        float | None,
        typer.Option(
            "--run-lost-seconds", min=0, help="After so long without a word a tracked run counts as lost (default: 60)."
        ),
    ] = None,
) -> None:
    """Start a server and stay with it until Ctrl-C.

    It prints its URL, and at the first start the admin token, once. Jobs and deployments go on without it.
    """
    given: dict[str, Any] = {
        "data": data,
        "host": host,
        "port": port,
        "database_url": database_url,
        "engine": engine,
        "containers": containers,
        "allowed_hosts": tuple(allowed_host) if allowed_host else None,
        "allow_remote": allow_remote or None,
        "fetch_networks": tuple(fetch_network) if fetch_network else None,
        "keep_failed_hours": keep_failed_hours,
        "keep_environments": keep_environments,
        "run_lost_seconds": run_lost_seconds,
    }
    _serve()({key: value for key, value in given.items() if value is not None})


def _serve() -> Any:
    from headway.errors import MissingExtraError

    try:
        from headway.server.main import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("headway"):
            raise
        raise MissingExtraError("The server", "server") from error
    return serve
