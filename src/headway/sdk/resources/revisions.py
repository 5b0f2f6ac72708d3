"""client.deployments: what a deployment serves, and its history."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from headway.domain.base import now, parse_request
from headway.domain.deployments import (
    Batching,
    Deployment,
    DeploymentRollback,
    DeploymentUpdate,
    Guard,
    Revision,
    RolloutMode,
    Scaling,
)
from headway.domain.traffic import DeploymentTraffic
from headway.errors import InvalidRequestError
from headway.sdk.resources.base import Resource, refuse_unknown

_VERSION = re.compile(r"^v[1-9][0-9]*$")
MODEL_OR_TRAFFIC = "model= is the one version that takes all traffic; traffic= names several by weight."


class DeploymentRevisions(Resource):
    """Every change of what a deployment serves is a numbered revision; any of them can come back."""

    path = "/api/v1/deployments"
    noun = "deployment"

    def update(
        self,
        deployment: str,
        *,
        model: str | None = None,
        traffic: Mapping[str, int] | None = None,
        shadow: str | None = None,
        replicas: int | Mapping[str, int] | None = None,
        scaling: Scaling | Mapping[str, Any] | None = None,
        instance_type: str | Mapping[str, str] | None = None,
        public: bool | None = None,
        environment: Mapping[str, Any] | None = None,
        sticky: str | None = None,
        guard: Guard | Mapping[str, Any] | None = None,
        batching: Batching | Mapping[str, Any] | None = None,
        deadline_seconds: float | None = None,
        max_waiting: int | None = None,
        rollout: RolloutMode | str | None = None,
        hedge_after_seconds: float | None = None,
        unset: Iterable[str] = (),
        expected_revision: int | None = None,
        reason: str = "",
        project: str | None = None,
    ) -> Deployment:
        """Make another revision; what is None stays as it is. The old one keeps the traffic until the new replicas answer:
        ``pending`` is its number until then, and :meth:`wait` with ``revision=`` waits for it.

        Args:
            deployment: Id or name.
            model: The one version that takes all traffic from now on, as for :meth:`create`.
            traffic: Weights: ``{"v2": 90, "v3": 10}``. Keys are versions of the model that is deployed, or any references;
                versions that are not named go.
            shadow: The version that gets a copy of the traffic; ``"none"`` ends that.
            replicas: How many for each version, or ``{"v3": 2}``.
            scaling: ``Scaling(minimum=1, maximum=4)`` or the same as a dict for all versions, or by version.
            instance_type: For all, or by version.
            public: Whether predictions need no token.
            environment: Variables of the replicas.
            sticky: A header's name: requests with the same value of it go to the same version.
            guard: When a new revision is taken back by itself.
            batching: How requests that arrive together are answered.
            deadline_seconds: How long a request may take.
            max_waiting: Requests beyond which the next is answered 429.
            rollout: ``rolling``, or ``recreate``: where the new replicas find no room beside the old ones, those end first,
                and requests wait; if the new ones fail, the old come back.
            hedge_after_seconds: After so long a copy of a prediction goes to another replica of its version, too, and the
                first good answer counts; for at most one request in ten.
            unset: ``"sticky"``, ``"guard"``, ``"scaling"``, ``"hedge_after_seconds"``: switched off.
            expected_revision: Refuse unless this is the newest revision.
            reason: Why, for the history.
            project: Of a name; the client's own without it.

        Raises:
            InvalidRequestError: Something is wrong or nothing is to be changed; found before anything is sent.
            ConflictError: ``expected_revision`` is not the newest.
        """
        given = {key: value for key, value in locals().items() if key not in ("self", "deployment", "project", "unset")}
        values = {key: value for key, value in given.items() if value is not None}
        if not reason:
            del values["reason"]
        if unset:
            values["unset"] = frozenset([unset] if isinstance(unset, str) else unset)
        check_words(values)
        request = parse_request(DeploymentUpdate, values, what="The update")
        _check_update(request)
        return self._session.act(Deployment, "PATCH", self._of(deployment, project), body=request)

    def traffic(self, deployment: str, weights: Mapping[str, int], *, project: str | None = None) -> Deployment:
        """Share the traffic out: ``traffic("digits", {"v2": 90, "v3": 10})`` is a canary. Versions that are not named go."""
        return self.update(deployment, traffic=weights, project=project)

    def shadow(self, deployment: str, version: str | None, *, project: str | None = None) -> Deployment:
        """Send ``version`` a copy of the traffic; its answers are compared and never returned. None ends that."""
        return self.update(deployment, shadow="none" if version is None else version, project=project)

    def rollback(
        self, deployment: str, revision: int | None = None, *, reason: str = "", project: str | None = None
    ) -> Deployment:
        """Serve what an earlier revision did, as a new one; without a number, the one that was live before this one."""
        given: dict[str, Any] = {"revision": revision, "reason": reason}
        values = {key: value for key, value in given.items() if value not in (None, "")}
        request = parse_request(DeploymentRollback, values, what="The rollback")
        return self._session.act(Deployment, "POST", self._of(deployment, project, "rollback"), body=request)

    def revisions(self, deployment: str, *, project: str | None = None, limit: int | None = None) -> Iterator[Revision]:
        """Its revisions, newest first."""
        return self._session.pages(Revision, self._of(deployment, project, "revisions"), {}, limit)

    def revision(self, deployment: str, number: int, *, project: str | None = None) -> Revision:
        """One revision by its number."""
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InvalidRequestError(f"Revisions are numbered from 1; {number!r} is none.")
        return self._session.get(Revision, self._of(deployment, project, "revisions", str(number)))

    def metrics(
        self,
        deployment: str,
        *,
        since: datetime | timedelta | float | None = None,
        windows: int | None = None,
        project: str | None = None,
    ) -> DeploymentTraffic:
        """Its requests: rate, errors, latencies, by version, by replica and over time, as its gateways saw them.

        Args:
            deployment: Id or name.
            since: Seconds back from now, or a moment; the last 5 minutes without it. A day is kept.
            windows: In how many pieces at most the time is told, up to 1000.
            project: Of a name; the client's own without it.
        """
        query = {"since": None if since is None else moment_of(since), "windows": windows}
        return self._session.get(DeploymentTraffic, self._of(deployment, project, "traffic"), query)

    def _of(self, deployment: str, project: str | None, *more: str) -> str:
        return self._address(self._id(Deployment, deployment, project), *more)


def check_words(values: Mapping[str, Any]) -> None:
    """InvalidRequestError for a rule that ``scaling``, ``guard`` or ``batching`` do not have: parts of records pass unknown
    words over.
    """
    for name, model in (("scaling", Scaling), ("guard", Guard), ("batching", Batching)):
        value = values.get(name)
        parts = [value]
        if isinstance(value, Mapping) and all(_VERSION.match(str(key)) for key in value):
            parts = list(value.values())
        for rules in parts:
            if isinstance(rules, Mapping):
                refuse_unknown(dict(rules), set(model.model_fields), f"{name}=")


def moment_of(since: datetime | timedelta | float) -> datetime:
    """A moment, or one that lies so many seconds back."""
    if isinstance(since, datetime):
        return since
    try:
        back = since if isinstance(since, timedelta) else timedelta(seconds=since)
        if back.total_seconds() <= 0:
            raise ValueError
        return now() - back
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequestError(f"since must be a moment or seconds above 0, not {since!r}.") from None


def _check_update(request: DeploymentUpdate) -> None:
    if request.model is not None and request.traffic is not None:
        raise InvalidRequestError("The update names both model= and traffic=.", hint=MODEL_OR_TRAFFIC)
    if request.traffic is not None and not any(request.traffic.values()):
        raise InvalidRequestError(
            "The update gives no version any traffic.", hint="Give one a weight above 0, or stop the deployment."
        )
    if not request.model_fields_set - {"expected_revision", "reason"}:
        raise InvalidRequestError("The update changes nothing.", hint="Give model=, traffic=, replicas=, …")
