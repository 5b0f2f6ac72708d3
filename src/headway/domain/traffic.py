"""What gateways tell of the requests that went through them, and how it is shown."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headway.domain.base import Record, Request, Timestamp

WINDOW_SECONDS = 10
"""Windows begin at multiples of this since 1970, on every gateway alike."""
KEPT_SECONDS = 86_400
"""How long the server keeps a window."""
MAX_WINDOWS = 1000
"""How many windows one answer shows at most."""

Count = Annotated[int, Field(ge=0)]


class TrafficCell(Request):
    """One replica's requests within one window, as one gateway saw them. Sent again it replaces what was sent before."""

    deployment_id: str = Field(max_length=64)
    version: str = Field(max_length=16)
    """``v3``."""
    replica_id: str = Field(max_length=64)
    """Empty for requests that reached no replica."""
    start: int = Field(ge=0)
    """The window's first second since 1970, a multiple of :data:`WINDOW_SECONDS`."""
    codes: dict[Annotated[int, Field(ge=100, le=599)], Count] = {}
    """Status to how often; 499 when the client left first."""
    latency: dict[Annotated[int, Field(ge=0, le=256)], Count] = {}
    """Bucket of :mod:`headway.domain.latency` to how often."""
    seconds: float = Field(default=0.0, ge=0)
    """The sum of all latencies."""
    busy_seconds: float = Field(default=0.0, ge=0)
    """The integral of the requests in flight over the window: divided by its length, their mean."""
    hedged: Count = 0
    """Second copies that it got of requests that another replica took long for."""
    shadow_equal: Count = 0
    """For a shadow: answers equal to those given …"""
    shadow_different: Count = 0
    """… and others."""
    shadow_failed: Count = 0


class TrafficReport(Request):
    """What one gateway saw lately. The same report twice is harmless."""

    gateway: str = Field(min_length=1, max_length=64)
    """Of this process of a gateway."""
    cells: tuple[TrafficCell, ...] = Field(default=(), max_length=100_000)
    waiting: dict[str, Count] = {}
    """Deployment id to requests that wait for a replica now: what wakes one that was scaled to zero."""


class TrafficReceipt(Record):
    """What became of a report's cells. Those of unknown deployments, of windows that are over for a day or lie in the
    future, and of windows that begin at no multiple of :data:`WINDOW_SECONDS`, are dropped: sending them again is no use.
    """

    kept: int
    dropped: int


class VersionTraffic(Record):
    """One version of a deployment over a span of time."""

    version: str
    requests: int = 0
    requests_per_second: float = 0.0
    error_rate: float | None = None
    """Answers 5xx among all, None without any."""
    codes: dict[int, int] = {}
    in_flight: float = 0.0
    """On average."""
    p50: float | None = None
    """Seconds; and so on."""
    p95: float | None = None
    p99: float | None = None
    mean: float | None = None
    hedged: int = 0
    """Second copies of requests that took long, beside ``requests``."""
    shadow_equal: int = 0
    shadow_different: int = 0
    shadow_failed: int = 0


class ReplicaTraffic(VersionTraffic):
    replica_id: str


class TrafficWindow(Record):
    """All versions over one window, or over several that lie side by side where a span has too many."""

    start: Timestamp
    seconds: float
    """How long it is, or has been going on."""
    versions: tuple[VersionTraffic, ...] = ()


class DeploymentTraffic(Record):
    """A deployment's requests since ``since``: in all, by version, by replica, and over time."""

    deployment_id: str
    since: Timestamp
    """What was asked for, widened to whole windows, and not before the deployment was made: rates are over this span."""
    until: Timestamp
    total: VersionTraffic
    """Its ``version`` is empty; the copies that shadows got do not count."""
    versions: tuple[VersionTraffic, ...] = ()
    replicas: tuple[ReplicaTraffic, ...] = ()
    windows: tuple[TrafficWindow, ...] = ()
    """Oldest first."""
    waiting: int = 0
