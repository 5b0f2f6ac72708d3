"""headway deploy: models behind an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli.following import print_logs
from headway.cli.options import (
    AttemptOption,
    FollowOption,
    JsonOption,
    LimitOption,
    ProjectOption,
    ReplicaOption,
    TailOption,
    TimeoutOption,
    YesOption,
    confirm,
    connected,
    pairs,
)
from headway.cli.output import print_fields, print_json, print_page, print_table, say

if TYPE_CHECKING:
    from headway.domain.deployments import Deployment
    from headway.sdk.client import Client

app = typer.Typer(help="Deployments: models behind an endpoint.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Deployment id or name.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Return once it has got there.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Unique in the project.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="models:/NAME/3, models:/NAME@alias, NAME:v3, NAME, or a version's id.")
    ],
    replicas: Annotated[int, typer.Option("--replicas", help="How many processes serve it.")] = 1,
    instance_type: Annotated[str | None, typer.Option("--instance-type", help="A named size of machine.")] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="KEY=VALUE", help="A variable; KEY alone passes it on.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Answer predictions without a token.")] = False,
    no_start: Annotated[bool, typer.Option("--no-start", help="Record it; `headway deploy start` starts it.")] = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a model version behind an endpoint."""
    fields: dict[str, Any] = {
        "instance_type": instance_type,
        "environment": pairs(env or [], "--env") or None,
        "public": public or None,
        "start": False if no_start else None,
    }
    given = {key: value for key, value in fields.items() if value is not None}
    with connected(project) as client:
        found = client.deployments.create(name, model, replicas=replicas, **given)
        found = _settled(client, found, "running", wait, timeout)
    _answer(found, as_json)


@app.command("list")
def list_all(
    project: ProjectOption = None,
    state: Annotated[str | None, typer.Option("--state", help="Only deployments in this state.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List deployments, newest first."""
    with connected(project) as client:
        found = list(client.deployments.list(state=state, limit=limit or None))
    if as_json:
        print_page(found)
        return
    rows = [(d.id, d.name, d.state, d.replica_count, _served(d), d.created_at, d.endpoint) for d in found]
    print_table(("ID", "NAME", "STATE", "REPLICAS", "MODEL", "AGE", "ENDPOINT"), rows, empty="No deployments.")


def _served(deployment: Deployment) -> str:
    return ", ".join(f"{version.model}:v{version.version}" for version in deployment.versions)


@app.command("show")
def show(deployment: NameArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Show a deployment and its replicas."""
    with connected(project) as client:
        found = client.deployments.get(deployment)
    if as_json:
        print_json(found)
        return
    print_fields(
        {
            "id": found.id,
            "name": found.name,
            "state": found.state,
            "reason": found.reason,
            "model": _served(found),
            "endpoint": found.endpoint,
            "public": "yes" if found.public else "no",
            "created": found.created_at,
        }
    )
    if found.replicas:
        say()
        rows = [(replica.name, replica.phase, replica.address, replica.reason) for replica in found.replicas]
        print_table(("REPLICA", "PHASE", "ADDRESS", "REASON"), rows, empty="")


@app.command("start")
def start(
    deployment: NameArgument,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for its replicas."""
    with connected(project) as client:
        found = _settled(client, client.deployments.start(deployment), "running", wait, timeout)
    _answer(found, as_json)


@app.command("stop")
def stop(
    deployment: NameArgument,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drain and end its replicas; the endpoint keeps its address."""
    with connected(project) as client:
        found = _settled(client, client.deployments.stop(deployment), "stopped", wait, timeout)
    _answer(found, as_json)


@app.command("delete")
def delete(
    deployment: NameArgument, project: ProjectOption = None, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Stop a deployment and forget it; its model versions stay."""
    with connected(project) as client:
        found = client.deployments.get(deployment)
        confirm(f"Delete the deployment {found.name!r}?", yes)
        client.deployments.delete(found.id)
    if as_json:
        print_json({"deleted": found.id})
    else:
        say(f"Deleted {found.id}.")


@app.command("logs")
def logs(
    deployment: NameArgument,
    follow: FollowOption = False,
    replica: ReplicaOption = None,
    tail: TailOption = None,
    attempt: AttemptOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what its replicas printed; with --json one row a line."""
    with connected(project) as client:
        rows = client.deployments.logs(deployment, follow=follow, replica=replica, tail=tail, attempt=attempt)
        print_logs(rows, as_json)


def _settled(client: Client, found: Deployment, state: str, wait: bool, timeout: float | None) -> Deployment:
    return client.deployments.wait(found.id, state=state, timeout=timeout) if wait else found


def _answer(deployment: Deployment, as_json: bool) -> None:
    if as_json:
        print_json(deployment)
    else:
        say(f"{deployment.id} {deployment.state.value} {deployment.endpoint}")
