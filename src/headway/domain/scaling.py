"""How many replicas a version should have: pure decisions from what was in flight lately and what waits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from headway.domain.deployments import Scaling
from headway.domain.traffic import WINDOW_SECONDS, TrafficCell

MEAN_SECONDS = 30.0
"""Over how long requests in flight are averaged."""
FEWEST_SECONDS = 5.0
"""Requests that only began are taken as a mean over no less than this: a blink of a burst starts no replicas."""
SLACK = 0.9
"""How full the remaining replicas may be when one is taken away: at their target exactly the next request would ask for
it again."""


@dataclass(frozen=True)
class Load:
    """What one version has to do."""

    in_flight: float = 0.0
    """The mean of the last :data:`MEAN_SECONDS`."""
    waiting: int = 0
    """Requests that wait for one of its replicas."""
    active: bool = False
    """Whether a request was seen just now."""


@dataclass(frozen=True)
class Decision:
    replicas: int
    reason: str = ""
    """Why, in words; empty where nothing changes."""
    enough_since: float | None = None
    """Since when fewer would have been enough, to be given back at the next look."""


def mean_in_flight(cells: Iterable[TrafficCell], moment: float) -> float:
    """The mean of the requests in flight over :data:`MEAN_SECONDS` until ``moment`` (seconds since 1970), or since the
    first of ``cells`` began where that is later."""
    since, busy, first = moment - MEAN_SECONDS, 0.0, moment
    for cell in cells:
        begun = min(WINDOW_SECONDS, moment - cell.start)
        within = min(cell.start + WINDOW_SECONDS, moment) - max(cell.start, since)
        if begun <= 0 or within <= 0 or cell.busy_seconds <= 0:
            continue
        busy += cell.busy_seconds * within / begun
        first = min(first, max(cell.start, since))
    return busy / max(moment - first, FEWEST_SECONDS)


def decide(scaling: Scaling, replicas: int, load: Load, enough_since: float | None, moment: float) -> Decision:
    """What to do now with a version that has ``replicas``.

    Up at once and by as many as it takes; down one by one, each after ``idle_seconds`` in which one fewer would have
    been enough.
    """
    needed = _needed(scaling, replicas, load)
    if needed > replicas:
        return Decision(needed, _why_up(scaling, replicas, load))
    if replicas > scaling.maximum:
        return Decision(scaling.maximum, f"at most {scaling.maximum} are allowed")
    if replicas <= scaling.minimum or not _fewer_would_do(scaling, replicas, load):
        return Decision(replicas)
    since = moment if enough_since is None else enough_since
    if moment - since < scaling.idle_seconds:
        return Decision(replicas, enough_since=since)
    return Decision(replicas - 1, _why_down(scaling, replicas), enough_since=moment)


def _needed(scaling: Scaling, replicas: int, load: Load) -> int:
    # Without a replica nothing is in flight: the mean remembers what was, and only what waits needs one.
    requests = load.waiting + (load.in_flight if replicas else 0.0)
    return min(max(scaling.minimum, math.ceil(requests / scaling.target_in_flight - 1e-9)), scaling.maximum)


def _fewer_would_do(scaling: Scaling, replicas: int, load: Load) -> bool:
    if load.waiting:
        return False
    if replicas == 1:
        return not load.active
    return load.in_flight <= (replicas - 1) * scaling.target_in_flight * SLACK


def _why_up(scaling: Scaling, replicas: int, load: Load) -> str:
    if replicas < scaling.minimum:
        return f"at least {scaling.minimum} are wanted"
    if replicas == 0:
        return f"{_requests(load.waiting)} for a replica"
    waiting = f" and {_requests(load.waiting)}" if load.waiting else ""
    busy = f"{load.in_flight:.3g} requests in flight on average"
    return f"{busy}{waiting}, more than {scaling.target_in_flight:g} for each replica"


def _why_down(scaling: Scaling, replicas: int) -> str:
    if replicas == 1:
        return f"no request for {scaling.idle_seconds:g} s"
    return f"{replicas - 1} would have been enough for {scaling.idle_seconds:g} s"


def _requests(count: int) -> str:
    return "a request waits" if count == 1 else f"{count} requests wait"
