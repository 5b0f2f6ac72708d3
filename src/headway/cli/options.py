"""Options that many commands share, and the client they ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headway.sdk.client import Client

RETRY_SECONDS = 3.0
"""A person at a terminal would rather read that the server is away than wait for it."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, as the API answers it.")]
ProjectOption = Annotated[
    str | None, typer.Option("--project", "-p", help="Project id or name.", envvar="HEADWAY_PROJECT", show_envvar=False)
]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, to the end.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
LimitOption = Annotated[int, typer.Option("--limit", min=0, help="Show at most so many; 0 shows all.")]
TailOption = Annotated[int | None, typer.Option("--tail", min=0, help="Begin with the last so many lines.")]
ReplicaOption = Annotated[str | None, typer.Option("--replica", help="Only this replica, as worker-1.")]
AttemptOption = Annotated[
    int | None, typer.Option("--attempt", min=1, help="One attempt only; all of them without it.")
]
TimeoutOption = Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds to wait at most.")]


@contextmanager
def connected(project: str | None = None) -> Iterator[Client]:
    """A client for the configured server, closed at the end."""
    from headway.sdk.client import Client

    with Client(project=project, retry_for=RETRY_SECONDS) as client:
        yield client


def confirm(question: str, yes: bool) -> None:
    """Ask before something is destroyed; without a terminal only ``--yes`` answers."""
    import sys

    from headway.cli.output import clean
    from headway.errors import InvalidRequestError

    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidRequestError(f"{question} Nobody is here to answer.", hint="Repeat with --yes.")
    typer.confirm(clean(question), abort=True)


def pairs(values: list[str], option: str) -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping; ``KEY`` alone takes its value from the environment."""
    import os

    from headway.errors import InvalidRequestError

    found = {}
    for text in values:
        key, marker, value = text.partition("=")
        if not marker and key not in os.environ:
            raise InvalidRequestError(f"{option} {key}: it has no value here.", hint=f"Write {option} {key}=VALUE.")
        found[key] = value if marker else os.environ[key]
    return found


def secret_values(names: list[str]) -> dict[str, str]:
    """Values for secrets, from the environment or asked for without echo; never from the command line, which others see."""
    import os
    import sys

    from headway.errors import InvalidRequestError

    found = {}
    for name in names:
        if "=" in name:
            key = name.partition("=")[0]
            raise InvalidRequestError(
                f"--secret {key}=… would show the value to everybody on this machine.",
                hint=f"Set {key} in the environment and write --secret {key}.",
            )
        if name in os.environ:
            found[name] = os.environ[name]
        elif sys.stdin.isatty():
            found[name] = typer.prompt(f"Value of {name}", hide_input=True)
        else:
            raise InvalidRequestError(f"The secret {name} has no value.", hint=f"Set {name} in the environment.")
    return found
