"""headway token: credentials."""

from __future__ import annotations

from typing import Annotated

import typer

from headway.cli.options import JsonOption, LimitOption, YesOption, confirm, connected
from headway.cli.output import note, print_json, print_page, print_table, say

app = typer.Typer(help="Tokens: credentials.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="To know it by.")] = "token",
    user: Annotated[str | None, typer.Option("--user", help="For another user (server admins).")] = None,
    project: Annotated[str | None, typer.Option("--project", "-p", help="Narrow it to one project.")] = None,
    role: Annotated[str | None, typer.Option("--role", help="Lower it: viewer, member or admin.")] = None,
    expires_in: Annotated[int | None, typer.Option("--expires-in", min=1, help="Seconds; never without it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token. Its secret is printed this once."""
    fields = {"user": user, "project": project, "role": role, "expires_in": expires_in}
    with connected() as client:
        found = client.tokens.create(name, **{key: value for key, value in fields.items() if value is not None})
    if as_json:
        print_json(found)
    else:
        note(f"{found.token.id}; the secret is shown this once:")
        say(found.secret)


@app.command("list")
def list_all(limit: LimitOption = 100, as_json: JsonOption = False) -> None:
    """List tokens, never their secrets."""
    with connected() as client:
        found = list(client.tokens.list(limit=limit or None))
    if as_json:
        print_page(found)
        return
    rows = [(t.id, t.name, f"{t.prefix}…", t.kind, t.expires_at or "", "yes" if t.revoked_at else "") for t in found]
    print_table(("ID", "NAME", "BEGINS", "KIND", "EXPIRES", "REVOKED"), rows, empty="No tokens.")


@app.command("delete")
def delete(
    token: Annotated[str, typer.Argument(help="Token id.")], yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Revoke a token; it stops working at once."""
    confirm(f"Revoke the token {token!r}?", yes)
    with connected() as client:
        client.tokens.delete(token)
    if as_json:
        print_json({"deleted": token})
    else:
        say(f"Revoked {token}.")
