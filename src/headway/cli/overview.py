"""headway status, version, doctor: how things stand."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli.options import JsonOption, connected
from headway.cli.output import print_fields, print_json, print_table, say
from headway.cli.sync import doctor_journals

if TYPE_CHECKING:
    from headway.sdk.client import Client


def register(app: typer.Typer) -> None:
    app.command("status")(status)
    app.command("version")(version)
    app.command("doctor")(doctor)


def status(as_json: JsonOption = False) -> None:
    """Show how the server stands: engine, capacity, jobs and deployments by state."""
    with connected() as client:
        found = client.status()
    if as_json:
        print_json(found)
        return
    print_fields({name.replace("_", " "): _line(value) for name, value in found.items()})


def _line(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count}" for key, count in value.items() if count) or "none"
    return value


def version(as_json: JsonOption = False) -> None:
    """Show the versions of this program and, when it answers, of the server."""
    import headway
    from headway.errors import HeadwayError

    server: dict[str, Any] | None = None
    problem = None
    try:
        with connected() as client:
            server = client.version()
    except HeadwayError as error:
        problem = str(error)
    if as_json:
        print_json({"client": headway.__version__, "server": server})
        return
    say(f"headway {headway.__version__} (Python {platform.python_version()})")
    say(f"server  {server.get('version')}" if server else f"server  unknown: {problem}")


@dataclass(frozen=True)
class Finding:
    """One look of the doctor's: ``ok``, ``warn`` or ``fail``, and what to do."""

    check: str
    result: str
    detail: str = ""
    hint: str = ""


def doctor(
    path: Annotated[
        Path | None, typer.Argument(help="Check the journals in this directory instead.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check set-up, connection and token, or the journals in a directory, and say what to do about what is wrong."""
    if path is not None:
        doctor_journals(path, as_json)
        return
    findings = list(_examine())
    if as_json:
        print_json({"items": [asdict(finding) for finding in findings]})
    else:
        rows = [(f.result, f.check, f"{f.detail} {f.hint}".strip()) for f in findings]
        print_table(("CHECK", "WHAT", "DETAIL"), rows, empty="")
    if any(finding.result == "fail" for finding in findings):
        raise typer.Exit(1)


def _examine() -> Iterator[Finding]:
    from headway.errors import HeadwayError

    yield _program("git", "Workspaces from git need it where jobs run.")
    yield _space()
    try:
        with connected() as client:
            yield Finding("configuration", "ok", f"{client.url} from {client.connection.sources['url']}")
            yield from _server(client)
    except HeadwayError as error:
        yield Finding("configuration", "fail", error.message, error.hint or "")


def _program(name: str, why: str) -> Finding:
    found = shutil.which(name)
    return Finding(name, "ok", found) if found else Finding(name, "warn", "not found.", why)


def _space() -> Finding:
    from headway.cli.output import size_text

    free = shutil.disk_usage(".").free
    detail = f"{size_text(free)} free here"
    return Finding("disk", "ok", detail) if free > 1 << 30 else Finding("disk", "warn", detail, "Free some space.")


def _server(client: Client) -> Iterator[Finding]:
    yield _asked("connection and token", lambda: f"{client.me().user.name} at {client.url}")
    yield _asked("versions", lambda: _versions(client))
    if client.project:
        yield _asked("project", lambda: client.projects.get(client.project).name)


def _versions(client: Client) -> str:
    import headway

    theirs = str(client.version().get("version"))
    return f"client {headway.__version__}, server {theirs}"


def _asked(check: str, question: Callable[[], str]) -> Finding:
    from headway.errors import HeadwayError

    try:
        return Finding(check, "ok", question())
    except HeadwayError as error:
        return Finding(check, "fail", error.message, error.hint or "")
