"""Whether the new replicas of a revision fit beside those that serve, and whether they would fit in their place."""

from __future__ import annotations

from collections.abc import Sequence

from headway.domain.deployments import Deployment, DeploymentSpec, RolloutMode
from headway.domain.instances import Capacity
from headway.errors import NotFoundError
from headway.server.actions import capacity
from headway.server.actions.specs import SERVER_ROLE
from headway.server.actions.templates import Placed, of_template, template_of_attempt, wanted_of
from headway.storage.base import Session


def told_of_room(
    session: Session, deployment: Deployment, pending: DeploymentSpec, placed: Sequence[Placed], there: Capacity
) -> str:
    """What the missing replicas of a pending revision wait for and what helps, in words; empty where they fit."""
    need = _missing_need(session, deployment, pending, placed)
    if need is None:
        return ""
    _, waiting = capacity.reserve(session, need, there)
    return advised(session, deployment, pending, placed, there, waiting) if waiting else ""


def advised(
    session: Session,
    deployment: Deployment,
    pending: DeploymentSpec,
    placed: Sequence[Placed],
    there: Capacity,
    waiting: str,
) -> str:
    """``waiting`` with what helps, where the replicas of the live revision take the room."""
    if not fits_instead(session, deployment, pending, placed, there):
        return waiting
    old = f"beside the replicas of revision {deployment.revision}"
    if pending.rollout is RolloutMode.RECREATE:
        return f"{waiting} {old}, which end first"
    return (
        f"{waiting} {old}: `headway deploy update {deployment.name} --rollout recreate` ends those first, and requests"
        " wait meanwhile; or stop the deployment, update it, and start it again"
    )


def fits_instead(
    session: Session, deployment: Deployment, pending: DeploymentSpec, placed: Sequence[Placed], there: Capacity
) -> bool:
    """Whether all that the pending revision misses would fit if the replicas that only the live one wants had ended."""
    templates = {wanted.template for wanted in wanted_of(pending)}
    old = [one for one in placed if one.serves and template_of_attempt(deployment, one.attempt) not in templates]
    need = _missing_need(session, deployment, pending, placed)
    if not old or need is None:
        return False
    _, waiting = capacity.reserve(session, need, there, without={one.attempt.id for one in old})
    return not waiting


def _missing_need(
    session: Session, deployment: Deployment, pending: DeploymentSpec, placed: Sequence[Placed]
) -> capacity.Need | None:
    """What the replicas that the pending revision misses ask for together; None where that cannot be said."""
    roles = {}
    for place, wanted in enumerate(wanted_of(pending)):
        have = sum(one.serves for one in of_template(deployment, placed, wanted.template))
        if have < wanted.count:
            roles[f"{SERVER_ROLE}{place}"] = (wanted.version.instance_type, wanted.count - have)
    try:
        return capacity.need_of(session, roles) if roles else None
    except NotFoundError:
        return None
