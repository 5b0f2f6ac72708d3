"""Adding up the cells that gateways sent: over replicas, gateways and windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime, timezone
from typing import Any, TypeVar

from headway.domain.latency import quantile
from headway.domain.traffic import WINDOW_SECONDS, ReplicaTraffic, TrafficCell, TrafficWindow, VersionTraffic

K = TypeVar("K", bound=Hashable)

FIRST_ERROR = 500


class Tally:
    """The sum of some cells."""

    def __init__(self, cells: Iterable[TrafficCell] = ()) -> None:
        self.codes: Counter[int] = Counter()
        self.latency: Counter[int] = Counter()
        self.seconds = 0.0
        self.busy_seconds = 0.0
        self.hedged = 0
        self.shadow_equal = self.shadow_different = self.shadow_failed = 0
        for cell in cells:
            self.add(cell)

    def add(self, cell: TrafficCell) -> None:
        self.codes.update(cell.codes)
        self.latency.update(cell.latency)
        self.seconds += cell.seconds
        self.busy_seconds += cell.busy_seconds
        self.hedged += cell.hedged
        self.shadow_equal += cell.shadow_equal
        self.shadow_different += cell.shadow_different
        self.shadow_failed += cell.shadow_failed

    @property
    def requests(self) -> int:
        return sum(self.codes.values())

    @property
    def errors(self) -> int:
        """Answers 5xx."""
        return sum(count for code, count in self.codes.items() if code >= FIRST_ERROR)

    @property
    def error_rate(self) -> float | None:
        """From 0 to 1; None without requests."""
        return self.errors / self.requests if self.requests else None

    def quantile(self, share: float) -> float | None:
        """Seconds; None without latencies."""
        return quantile(self.latency, share)

    def over(self, span: float) -> dict[str, Any]:
        """The fields of a :class:`VersionTraffic`, but for whose it is, over ``span`` seconds."""
        measured = sum(self.latency.values())
        return {
            "requests": self.requests,
            "requests_per_second": self.requests / span if span > 0 else 0.0,
            "error_rate": self.error_rate,
            "codes": dict(sorted((code, count) for code, count in self.codes.items() if count)),
            "in_flight": self.busy_seconds / span if span > 0 else 0.0,
            "p50": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "p99": self.quantile(0.99),
            "mean": self.seconds / measured if measured else None,
            "hedged": self.hedged,
            "shadow_equal": self.shadow_equal,
            "shadow_different": self.shadow_different,
            "shadow_failed": self.shadow_failed,
        }


def is_shadows(cell: TrafficCell) -> bool:
    """Whether the requests of ``cell`` were copies."""
    return cell.shadow_equal + cell.shadow_different + cell.shadow_failed > 0


def tallies(cells: Iterable[TrafficCell], key: Callable[[TrafficCell], K]) -> dict[K, Tally]:
    """The cells added up by ``key``."""
    found: dict[K, Tally] = {}
    for cell in cells:
        found.setdefault(key(cell), Tally()).add(cell)
    return found


def total(cells: Iterable[TrafficCell], span: float) -> VersionTraffic:
    """All requests that were not copies."""
    return VersionTraffic(version="", **Tally(cell for cell in cells if not is_shadows(cell)).over(span))


def by_version(cells: Iterable[TrafficCell], span: float) -> tuple[VersionTraffic, ...]:
    """In order of the versions' numbers; requests for which none was chosen are left out."""
    found = tallies((cell for cell in cells if cell.version), lambda cell: cell.version)
    return tuple(VersionTraffic(version=key, **found[key].over(span)) for key in sorted(found, key=_number))


def by_replica(cells: Iterable[TrafficCell], span: float) -> tuple[ReplicaTraffic, ...]:
    """In order of version and replica; requests that reached none are left out."""
    found = tallies((cell for cell in cells if cell.replica_id), lambda cell: (cell.version, cell.replica_id))
    return tuple(
        ReplicaTraffic(version=version, replica_id=replica, **found[version, replica].over(span))
        for version, replica in sorted(found, key=lambda key: (_number(key[0]), key[1]))
    )


def over_time(cells: Sequence[TrafficCell], since: float, until: float, at_most: int) -> tuple[TrafficWindow, ...]:
    """Windows from ``since`` (a multiple of :data:`WINDOW_SECONDS`) to ``until``, both seconds since 1970, joined until
    there are ``at_most``. Those without a request are left out."""
    if at_most <= 0 or until <= since:
        return ()
    length = window_length(until - since, at_most)
    groups: dict[int, list[TrafficCell]] = {}
    for cell in cells:
        groups.setdefault(int(cell.start - since) // length, []).append(cell)
    windows = []
    for place in sorted(groups):
        start = since + place * length
        seconds = min(length, until - start)
        moment = datetime.fromtimestamp(start, timezone.utc)
        windows.append(TrafficWindow(start=moment, seconds=seconds, versions=by_version(groups[place], seconds)))
    return tuple(windows)


def window_length(span: float, at_most: int) -> int:
    """Seconds of each window so that ``at_most`` cover ``span``: a multiple of :data:`WINDOW_SECONDS`.

    >>> window_length(300, 30), window_length(301, 30), window_length(86_400, 100)
    (10, 20, 870)
    """
    return max(1, -int(-span // (at_most * WINDOW_SECONDS))) * WINDOW_SECONDS


def _number(key: str) -> tuple[int, str]:
    digits = key[1:]
    return (int(digits) if digits.isdecimal() else 0, key)
