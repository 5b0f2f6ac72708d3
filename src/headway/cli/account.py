"""headway login, logout, whoami: which server, as whom."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.options import JsonOption, ProjectOption, connected
from headway.cli.output import note, print_fields, print_json, say

if TYPE_CHECKING:
    from headway.sdk.client import Client

ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="Name of the profile.", envvar="HEADWAY_PROFILE", show_envvar=False)
]


def register(app: typer.Typer) -> None:
    app.command("login")(login)
    app.command("logout")(logout)
    app.command("whoami")(whoami)


def login(
    url: Annotated[str | None, typer.Argument(help="The server's address; the configured one without it.")] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="A file that holds the token; - is standard input.")
    ] = None,
    project: ProjectOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a server's address and a token for later commands.

    The token is asked for, or comes from --token-file or HEADWAY_TOKEN: never from the command line, which others see.
    """
    from headway.config import look_up, user_file, write_profile
    from headway.errors import ConfigurationError
    from headway.sdk.client import Client

    address = url
    if address is None:
        known = look_up()
        if known is None:
            raise ConfigurationError("No server is named.", hint="Write `headway login http://HOST:PORT`.")
        address = known.url
    secret = _token(token_file)
    with Client(address, secret, project, retry_for=3.0) as client:
        identity = client.me()
        project = _existing(client, project)
    kept = write_profile(client.url, secret, project=project, name=profile)
    if as_json:
        print_json({"profile": kept.name, "url": kept.url, "project": kept.project, "user": identity.user.name})
    else:
        say(f"Logged in to {kept.url} as {identity.user.name} (profile {kept.name!r} in {user_file()}).")


def _existing(client: Client, project: str | None) -> str | None:
    """The project, unless the server has none of that name: it may be created later, but not kept yet."""
    from headway.errors import NotFoundError

    if project is None:
        return None
    try:
        client.projects.get(project)
    except NotFoundError:
        note(f"warning: {client.url} has no project {project!r} that you may see; the profile names none.")
        return None
    return project


def _token(path: Path | None) -> str:
    import os

    from headway.errors import ConfigurationError

    try:
        if path is not None and str(path) != "-":
            with path.open(encoding="ascii", errors="replace") as file:
                return file.read(4096).strip()
        if path is None and os.environ.get("HEADWAY_TOKEN"):
            return os.environ["HEADWAY_TOKEN"]
    except OSError as error:
        raise ConfigurationError(f"--token-file: cannot read {str(path)!r}: {error.strerror}.") from error
    if path is None and sys.stdin.isatty():
        return str(typer.prompt("Token", hide_input=True))
    return sys.stdin.readline(4096).strip()


def logout(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Forget a profile. The token itself stays valid; `headway token delete` revokes it."""
    from headway.config import remove_profile
    from headway.errors import NotFoundError

    if not remove_profile(profile):
        raise NotFoundError("There is no such profile." if profile else "Nobody is logged in.")
    if as_json:
        print_json({"removed": True})
    else:
        say("Logged out.")


def whoami(as_json: JsonOption = False) -> None:
    """Show who the token makes you, and where."""
    with connected() as client:
        identity = client.me()
    if as_json:
        print_json(identity)
        return
    print_fields(
        {
            "user": identity.user.name + (" (server admin)" if identity.user.admin else ""),
            "token": f"{identity.token.name} ({identity.token.prefix}…)",
            "expires": identity.token.expires_at or "never",
            "server": f"{client.url} (from {client.connection.sources.get('url')})",
            "projects": ", ".join(f"{name}: {role.value}" for name, role in identity.projects.items()),
        }
    )
