"""headway user: accounts."""

from __future__ import annotations

from typing import Annotated

import typer

from headway.cli.options import JsonOption, LimitOption, YesOption, confirm, connected
from headway.cli.output import print_json, print_page, print_table, say

app = typer.Typer(help="Accounts (server admins).", no_args_is_help=True)
UserArgument = Annotated[str, typer.Argument(help="User id or name.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Letters, digits, _ . -")],
    admin: Annotated[bool, typer.Option("--admin", help="May do everything on this server.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an account; `headway token create --user` gives it a token."""
    with connected() as client:
        found = client.users.create(name, admin=admin)
    if as_json:
        print_json(found)
    else:
        say(found.id)


@app.command("list")
def list_all(limit: LimitOption = 100, as_json: JsonOption = False) -> None:
    """List accounts."""
    with connected() as client:
        found = list(client.users.list(limit=limit or None))
    if as_json:
        print_page(found)
        return
    rows = [(u.id, u.name, "yes" if u.admin else "", "disabled" if u.disabled_at else "", u.created_at) for u in found]
    print_table(("ID", "NAME", "ADMIN", "DISABLED", "AGE"), rows, empty="No users.")


@app.command("show")
def show(user: UserArgument, as_json: JsonOption = False) -> None:
    """Show one account."""
    with connected() as client:
        found = client.users.get(user)
    if as_json:
        print_json(found)
    else:
        say(f"{found.id} {found.name}{' (admin)' if found.admin else ''}{' (disabled)' if found.disabled_at else ''}")


@app.command("delete")
def delete(user: UserArgument, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Disable an account; its tokens stop working at once."""
    confirm(f"Disable the user {user!r}?", yes)
    with connected() as client:
        client.users.delete(user)
    if as_json:
        print_json({"deleted": user})
    else:
        say(f"Disabled {user}.")
