"""Waiting for a deployment: for its state, and for a revision of it to go live."""

from __future__ import annotations

from headway.domain.deployments import Deployment, DeploymentState, Revision, RevisionState
from headway.errors import ConflictError, InvalidRequestError, PlatformError

REVISION_EVENTS = (
    "deployment.revision_live",
    "deployment.revision_failed",
    "deployment.revision_created",
    "deployment.rolled_back",
)


def waited_state(state: DeploymentState | str) -> DeploymentState:
    """A state that can be waited for; InvalidRequestError for others."""
    try:
        wanted = DeploymentState(state)
    except ValueError:
        raise InvalidRequestError(
            f"{state!r} is not a deployment state.", hint="Wait for running or stopped."
        ) from None
    if wanted not in (DeploymentState.RUNNING, DeploymentState.STOPPED):
        raise InvalidRequestError(f"{wanted.value!r} may pass unseen.", hint="Wait for running or stopped.")
    return wanted


def has_reached(found: Deployment, wanted: DeploymentState, raise_on_error: bool) -> bool:
    """Whether ``found`` is in the state ``wanted``.

    Raises:
        ConflictError: It was asked for the opposite.
        PlatformError: Its replicas keep failing, and ``raise_on_error``.
    """
    if found.desired is not wanted:
        verb = "start" if wanted is DeploymentState.RUNNING else "stop"
        raise ConflictError(
            f"Deployment {found.name!r} was asked to be {found.desired.value}.",
            hint=f"Run `headway deploy {verb} {found.id}`.",
        )
    if raise_on_error and wanted is DeploymentState.RUNNING and found.state is DeploymentState.ERROR:
        raise PlatformError(f"Deployment {found.name!r} cannot run: {found.reason}")
    return found.state is wanted


def is_live(found: Deployment, revision: Revision) -> bool:
    """Whether ``revision`` has the traffic; False while its replicas come up.

    Raises:
        PlatformError: It failed or was taken back; the message says why.
        ConflictError: A newer one took its place.
    """
    what = f"Revision {revision.number} of deployment {found.name!r}"
    if revision.state is RevisionState.FAILED:
        raise PlatformError(
            f"{what} failed: {(revision.reason or 'its replicas did not answer').rstrip('.')}.",
            hint=f"Revision {found.revision} still has the traffic. See `headway deploy logs {found.id}`.",
        )
    if revision.state is RevisionState.ROLLED_BACK:
        raise PlatformError(f"{what} was rolled back: {revision.reason}")
    if revision.state is RevisionState.SUPERSEDED:
        raise ConflictError(f"{what} was replaced by a newer one.", hint=f"The newest is {found.last_revision}.")
    return revision.state is RevisionState.LIVE
