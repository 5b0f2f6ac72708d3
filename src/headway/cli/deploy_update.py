"""headway deploy update, rollback, revisions: what a deployment serves, and its history."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    counts_of,
    hedge_of,
    rules_of,
    scaling_of,
    weights_of,
)
from headway.cli.options import JsonOption, LimitOption, ProjectOption, TimeoutOption, connected, pairs
from headway.cli.output import note, print_json, print_page, print_table, say

if TYPE_CHECKING:
    from headway.domain.deployments import Deployment, DeploymentSpec, Scaling
    from headway.sdk.client import Client

NO = "none"
"""What switches a setting off."""
WHOLE = "100%"
SETTINGS = {
    "public": "public",
    "environment": "environment",
    "sticky": "sticky",
    "guard": "guard",
    "batching": "batching",
    "deadline_seconds": "deadline",
    "max_waiting": "max waiting",
    "rollout": "rollout",
    "hedge_after_seconds": "hedge after",
}
"""What a spec fixes for all its versions, in a word each."""
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the history.")]


def register(app: typer.Typer) -> None:
    app.command("update")(update)
    app.command("rollback")(rollback)
    app.command("revisions")(revisions)


def update(
    deployment: NameArgument,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The one version that takes all traffic from now on.")
    ] = None,
    traffic: Annotated[
        str | None, typer.Option("--traffic", help="Weights, as v2=90,v3=10; versions that are not named go.")
    ] = None,
    shadow: Annotated[
        str | None, typer.Option("--shadow", help="A version that gets a copy of the traffic; none ends that.")
    ] = None,
    replicas: Annotated[
        str | None, typer.Option("--replicas", help="How many for each version, or v3=2 for some.")
    ] = None,
    min_replicas: MinReplicasOption = None,
    max_replicas: MaxReplicasOption = None,
    target_in_flight: TargetOption = None,
    idle_seconds: IdleOption = None,
    no_scaling: Annotated[bool, typer.Option("--no-scaling", help="Keep the number of replicas as it is.")] = False,
    instance_type: Annotated[str | None, typer.Option("--instance-type", help="A named size of machine.")] = None,
    env: EnvOption = None,
    public: Annotated[bool | None, typer.Option("--public/--private", help="Answer without a token, or not.")] = None,
    sticky: StickyOption = None,
    guard: GuardOption = None,
    batching: BatchingOption = None,
    deadline: DeadlineOption = None,
    max_waiting: MaxWaitingOption = None,
    rollout: RolloutOption = None,
    hedge_after: HedgeOption = None,
    reason: ReasonOption = "",
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what a deployment serves; the old revision keeps the traffic until the new replicas answer."""
    fields: dict[str, Any] = {
        "model": model,
        "traffic": None if traffic is None else weights_of(traffic),
        "shadow": shadow,
        "replicas": None if replicas is None else counts_of(replicas),
        "instance_type": instance_type,
        "environment": pairs(env, "--env") if env else None,
        "public": public,
        "sticky": None if sticky == NO else sticky,
        "guard": None if guard in (None, NO) else rules_of(guard or "", "--guard", GUARD_WORDS),
        "batching": None if batching is None else rules_of(batching, "--batching", BATCHING_WORDS),
        "deadline_seconds": deadline,
        "max_waiting": max_waiting,
        "rollout": rollout,
        "hedge_after_seconds": hedge_of(hedge_after),
        "unset": _switched_off(sticky, guard, no_scaling, hedge_after),
        "reason": reason,
    }
    scaling = (min_replicas, max_replicas, target_in_flight, idle_seconds)
    with connected(project) as client:
        if scaling_of(*scaling) is not None:
            fields["scaling"] = scaling_of(*scaling, known=_known_scaling(client.deployments.get(deployment)))
        changed = client.deployments.update(deployment, **fields)
        _settle(client, changed, wait, timeout, as_json)


def rollback(
    deployment: NameArgument,
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="A revision; without it the one that was live before this one.")
    ] = None,
    reason: ReasonOption = "",
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve what an earlier revision did, as a new revision."""
    with connected(project) as client:
        changed = client.deployments.rollback(deployment, to, reason=reason)
        _settle(client, changed, wait, timeout, as_json)


def revisions(
    deployment: NameArgument, project: ProjectOption = None, limit: LimitOption = 20, as_json: JsonOption = False
) -> None:
    """List the revisions of a deployment, newest first."""
    with connected(project) as client:
        found = list(
            client.deployments.revisions(deployment, limit=limit + 1 if limit and not as_json else limit or None)
        )
    if as_json:
        print_page(found)
        return
    shown = limit or len(found)
    earlier = [each.spec for each in found[1 : shown + 1]]
    rows = [
        (each.number, each.state, spec_text(each.spec), changes_text(each.spec, before), each.created_at, each.reason)
        for each, before in zip_longest(found[:shown], earlier)
    ]
    print_table(("REVISION", "STATE", "SERVES", "CHANGED", "AGE", "REASON"), rows, empty="No revisions.")


def changes_text(spec: DeploymentSpec, before: DeploymentSpec | None) -> str:
    """What differs from the revision before it, beside versions and their weights: ``sticky, guard``."""
    if before is None:
        return ""
    changed = [word for field, word in SETTINGS.items() if getattr(spec, field) != getattr(before, field)]
    old = {(version.model, version.key): version for version in before.versions}
    kept = [(version, old.get((version.model, version.key))) for version in spec.versions]
    pairs = [(new, known) for new, known in kept if known is not None]
    if any(new.scaling != known.scaling for new, known in pairs):
        changed.append("scaling")
    elif any(new.scaling is None and new.replicas != known.replicas for new, known in pairs):
        changed.append("replicas")
    if any(new.instance_type != known.instance_type for new, known in pairs):
        changed.append("instance type")
    return ", ".join(changed)


def spec_text(spec: DeploymentSpec | Deployment) -> str:
    """Versions with their weights on one line: ``digits:v2 90%, digits:v3 10%``."""
    total = sum(version.weight for version in spec.versions)
    parts = []
    for version in spec.versions:
        share = share_text(version.weight, total, shadow=version.shadow)
        parts.append(f"{version.model}:{version.key}{'' if share == WHOLE else f' {share}'}")
    return ", ".join(parts)


def share_text(weight: int, total: int, *, shadow: bool) -> str:
    """A version's share of the traffic.

    >>> share_text(1, 3, shadow=False), share_text(0, 3, shadow=True)
    ('33.3%', 'shadow')
    """
    if shadow:
        return "shadow"
    return f"{100 * weight / total:.3g}%" if total else "0%"


def _switched_off(sticky: str | None, guard: str | None, no_scaling: bool, hedge: str | None) -> frozenset[str]:
    off = {"sticky": sticky == NO, "guard": guard == NO, "scaling": no_scaling, "hedge_after_seconds": hedge == NO}
    return frozenset(name for name, chosen in off.items() if chosen)


def _known_scaling(deployment: Deployment) -> Scaling | None:
    return next((version.scaling for version in deployment.versions if version.scaling is not None), None)


def _settle(client: Client, changed: Deployment, wait: bool, timeout: float | None, as_json: bool) -> None:
    number = changed.last_revision
    outlook = f"revision {number} pending: "
    told = changed.reason if changed.reason.startswith(outlook) else f"{outlook}its replicas come up"
    if wait:
        if changed.pending == number and told != f"{outlook}its replicas come up":
            note(told)
        changed = client.deployments.wait(changed.id, revision=number, timeout=timeout)
    if as_json:
        print_json(changed)
        return
    say(f"{changed.id} {told if changed.pending == number else f'revision {number} live: {spec_text(changed)}'}")
