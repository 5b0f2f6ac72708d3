"""What gateways tell of requests, and what people are told of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from headway.domain.base import now
from headway.domain.deployments import Deployment
from headway.domain.tally import by_replica, by_version, over_time, total
from headway.domain.traffic import (
    KEPT_SECONDS,
    MAX_WINDOWS,
    WINDOW_SECONDS,
    DeploymentTraffic,
    TrafficCell,
    TrafficReceipt,
    TrafficReport,
)
from headway.errors import InvalidRequestError
from headway.server.actions.lookup import find_deployment
from headway.server.context import Caller, Platform

WAITING_COUNTS = timedelta(seconds=15)
"""How long the word of a gateway counts that requests wait: a gateway that died says nothing more."""
DEFAULT_SPAN = timedelta(minutes=5)
DEFAULT_WINDOWS = 60
KEY = re.compile(r"(v[1-9][0-9]{0,9})?")
"""A version's key, or nothing for requests for which none was chosen."""


def report(platform: Platform, told: TrafficReport) -> TrafficReceipt:
    """Keep what one gateway saw. A request that begins to wait wakes the scaler; nothing else wakes anybody."""
    moment = now()
    cells = [cell for cell in told.cells if _plausible(cell, moment.timestamp())]
    with platform.storage.write() as session:
        kept = session.traffic.put(told.gateway, cells)
        session.traffic.set_waiting(told.gateway, told.waiting, moment)
    return TrafficReceipt(kept=kept, dropped=len(told.cells) - kept)


def _plausible(cell: TrafficCell, moment: float) -> bool:
    aligned = cell.start % WINDOW_SECONDS == 0
    # A clock may be a little ahead of this one.
    recent = moment - KEPT_SECONDS <= cell.start <= moment + WINDOW_SECONDS
    return aligned and recent and KEY.fullmatch(cell.version) is not None


def prune(platform: Platform) -> None:
    """Forget what is over for a day."""
    with platform.storage.write() as session:
        session.traffic.prune(int(now().timestamp()) - KEPT_SECONDS)


def read(
    platform: Platform,
    caller: Caller,
    reference: str,
    project: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    windows: int = DEFAULT_WINDOWS,
) -> DeploymentTraffic:
    """A deployment's requests between two moments: the last 5 minutes without them, at most the last day.

    Raises:
        InvalidRequestError: ``since`` is not before ``until``.
    """
    moment = now()
    with platform.storage.read() as session:
        deployment = find_deployment(session, caller, reference, project)
        first, last = _span(deployment, since, until, moment)
        cells = session.traffic.windows(deployment.id, _window_of(first), int(last.timestamp()) + 1)
        waiting = session.traffic.waiting(deployment.id, moment - WAITING_COUNTS)
    return _answer(deployment.id, first, last, cells, min(windows, MAX_WINDOWS), waiting)


def _span(
    deployment: Deployment, since: datetime | None, until: datetime | None, moment: datetime
) -> tuple[datetime, datetime]:
    """What is covered: not before the deployment was made, not before what is kept, not after now."""
    last = min(until or moment, moment)
    asked = last - DEFAULT_SPAN if since is None else since
    if asked >= last:
        raise InvalidRequestError(
            "'since' must lie before 'until' and before now.", hint="Both are moments, such as 2026-01-02T03:04:05Z."
        )
    first = max(asked, moment - timedelta(seconds=KEPT_SECONDS))
    aligned = first - timedelta(seconds=first.timestamp() % WINDOW_SECONDS)
    return min(max(aligned, deployment.created_at), last), last


def _window_of(moment: datetime) -> int:
    return int(moment.timestamp()) // WINDOW_SECONDS * WINDOW_SECONDS


def _answer(
    deployment_id: str, first: datetime, last: datetime, cells: Sequence[TrafficCell], windows: int, waiting: int
) -> DeploymentTraffic:
    span = (last - first).total_seconds()
    return DeploymentTraffic(
        deployment_id=deployment_id,
        since=first,
        until=last,
        total=total(cells, span),
        versions=by_version(cells, span),
        replicas=by_replica(cells, span),
        windows=over_time(cells, _window_of(first), last.timestamp(), windows),
        waiting=waiting,
    )
