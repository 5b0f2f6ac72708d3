"""headway deploy: models behind an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli import deploy_bench, deploy_show, deploy_update
from headway.cli.deploy_options import (
    BATCHING_WORDS,
    GUARD_WORDS,
    BatchingOption,
    DeadlineOption,
    EnvOption,
    GuardOption,
    HedgeOption,
    IdleOption,
    MaxReplicasOption,
    MaxWaitingOption,
    MinReplicasOption,
    NameArgument,
    RolloutOption,
    StickyOption,
    TargetOption,
    WaitOption,
    hedge_of,
    rules_of,
    scaling_of,
)
from headway.cli.following import print_logs
from headway.cli.options import (
    AttemptOption,
    FollowOption,
    JsonOption,
    LimitOption,
    ProjectOption,
    TailOption,
    TimeoutOption,
    YesOption,
    confirm,
    connected,
    pairs,
)
from headway.cli.output import print_json, print_page, print_table, say

if TYPE_CHECKING:
    from headway.domain.deployments import Deployment
    from headway.domain.logs import LogRow
    from headway.sdk.client import Client

app = typer.Typer(help="Deployments: models behind an endpoint.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Unique in the project.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="models:/NAME/3, models:/NAME@alias, NAME:v3, NAME, or a version's id.")
    ],
    replicas: Annotated[int | None, typer.Option("--replicas", help="How many processes serve it.")] = None,
    min_replicas: MinReplicasOption = None,
    max_replicas: MaxReplicasOption = None,
    target_in_flight: TargetOption = None,
    idle_seconds: IdleOption = None,
    instance_type: Annotated[str | None, typer.Option("--instance-type", help="A named size of machine.")] = None,
    env: EnvOption = None,
    sticky: StickyOption = None,
    guard: GuardOption = None,
    batching: BatchingOption = None,
    deadline: DeadlineOption = None,
    max_waiting: MaxWaitingOption = None,
    rollout: RolloutOption = None,
    hedge_after: HedgeOption = None,
    public: Annotated[bool, typer.Option("--public", help="Answer predictions without a token.")] = False,
    no_start: Annotated[bool, typer.Option("--no-start", help="Record it; `headway deploy start` starts it.")] = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a model version behind an endpoint."""
    fields: dict[str, Any] = {
        "replicas": replicas,
        "scaling": scaling_of(min_replicas, max_replicas, target_in_flight, idle_seconds),
        "instance_type": instance_type,
        "environment": pairs(env or [], "--env") or None,
        "public": public or None,
        "start": False if no_start else None,
        "sticky": sticky,
        "guard": None if guard is None else rules_of(guard, "--guard", GUARD_WORDS),
        "batching": None if batching is None else rules_of(batching, "--batching", BATCHING_WORDS),
        "deadline_seconds": deadline,
        "max_waiting": max_waiting,
        "rollout": rollout,
        "hedge_after_seconds": hedge_of(hedge_after),
    }
    with connected(project) as client:
        found = client.deployments.create(name, model, **fields)
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
    rows = [
        (d.id, d.name, d.state, d.revision, d.replica_count, deploy_update.spec_text(d), d.created_at, d.endpoint)
        for d in found
    ]
    columns = ("ID", "NAME", "STATE", "REVISION", "REPLICAS", "SERVES", "AGE", "ENDPOINT")
    print_table(columns, rows, empty="No deployments.")


deploy_show.register(app)
deploy_update.register(app)


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
    replica: Annotated[
        str | None, typer.Option("--replica", help="Only this replica, as server-2: see `headway deploy show`.")
    ] = None,
    tail: TailOption = None,
    attempt: AttemptOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what its replicas printed; with --json one row a line."""
    with connected(project) as client:
        rows = client.deployments.logs(deployment, follow=follow, replica=replica, tail=tail, attempt=attempt)
        print_logs(rows, as_json, named=_shown_name)


deploy_bench.register(app)


def _shown_name(row: LogRow) -> str:
    """A replica as ``deploy show`` names it: by its attempt, of which it is the only one."""
    return f"{row.replica.rpartition('-')[0]}-{row.attempt}"


def _settled(client: Client, found: Deployment, state: str, wait: bool, timeout: float | None) -> Deployment:
    return client.deployments.wait(found.id, state=state, timeout=timeout) if wait else found


def _answer(deployment: Deployment, as_json: bool) -> None:
    if as_json:
        print_json(deployment)
    else:
        say(f"{deployment.id} {deployment.state.value} {deployment.endpoint}")
