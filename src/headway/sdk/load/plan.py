"""What load is put on what, and what came of it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from headway.domain.base import Record
from headway.errors import InvalidRequestError

MAX_REQUESTS = 5_000_000
DEFAULT_CONNECTIONS = 64
DEFAULT_TIMEOUT = 10.0


@dataclass(frozen=True)
class LoadPlan:
    """Requests at a fixed rate.

    Args:
        address: Where each is posted to; http or https. Proxies are not asked.
        headers: Of each.
        bodies: Sent in turn.
        rate: Requests a second.
        seconds: For how long.
        connections: How many at most; each carries one request at a time.
        timeout: Seconds after which a request that was sent is given up, and how long the last ones are waited for.
    """

    address: str
    headers: Mapping[str, str] = field(repr=False)
    bodies: Sequence[bytes] = field(repr=False)
    rate: float
    seconds: float
    connections: int = DEFAULT_CONNECTIONS
    timeout: float = DEFAULT_TIMEOUT

    def __post_init__(self) -> None:
        check_load(self.rate, self.seconds, self.connections, self.timeout)
        if not self.bodies:
            raise InvalidRequestError("There is nothing to send.")

    @property
    def count(self) -> int:
        """How many requests that is."""
        return max(1, round(self.rate * self.seconds))

    def requests(self) -> list[bytes]:
        """Whole requests, one for each body."""
        parts = urlsplit(self.address)
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        fields = {"Host": parts.netloc.rpartition("@")[2], **self.headers}
        if any(character in f"{name}{value}{path}" for name, value in fields.items() for character in "\r\n\0"):
            raise InvalidRequestError("A header holds a line break.")
        head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body for body in self.bodies]


def check_load(rate: float, seconds: float, connections: int, timeout: float) -> None:
    """InvalidRequestError unless such a load can be put on anything."""
    numbers = {"rate": (rate, 1e5), "seconds": (seconds, 86_400), "timeout": (timeout, 3600)}
    for name, (value, most) in numbers.items():
        known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not known or not 0 < value <= most:
            raise InvalidRequestError(f"{name} must be a number above 0 and at most {most:g}, not {value!r}.")
    if isinstance(connections, bool) or not isinstance(connections, int) or not 1 <= connections <= 10_000:
        raise InvalidRequestError(f"connections must be a number from 1 to 10000, not {connections!r}.")
    if rate * seconds > MAX_REQUESTS:
        raise InvalidRequestError(
            f"{rate:g} requests/s for {seconds:g} s are more than {MAX_REQUESTS} requests.", hint="Take fewer seconds."
        )


class Second(Record):
    """What came back within one second."""

    second: int
    """Counted from the beginning, from 0."""
    answered: int
    """Answers 2xx."""
    errors: int
    p50: float | None = None
    """Seconds from when a request was due, of the answers 2xx; and so on."""
    p95: float | None = None
    p99: float | None = None


class LoadReport(Record):
    """What came of a load. Latencies are seconds from the moment a request was *due* to the end of its answer, over all
    answers 2xx: a request that had to wait for a free connection has waited.
    """

    address: str
    wanted_rate: float
    """Requests a second that were due."""
    seconds: float
    """For how long."""
    connections: int
    requests: int
    """How many were due."""
    answered: int
    """Answers 2xx."""
    rate: float
    """Answers 2xx a second."""
    errors: int
    """All that are not answers 2xx."""
    error_rate: float
    codes: dict[int, int] = {}
    """Status to how often."""
    failures: dict[str, int] = {}
    """Why there was no answer, to how often: ``connection`` (refused or broken), ``timeout``, ``unsent`` (no connection
    was free to the end), ``garbage`` (not HTTP)."""
    versions: dict[str, int] = {}
    """Version to answers 2xx."""
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    mean: float | None = None
    least: float | None = None
    greatest: float | None = None
    late_p99: float | None = None
    """How late this program itself sent the requests for which a connection was free: what is measured is no more exact."""
    first_error: str = ""
    """What the first answer that is not 2xx said, or why there was none."""
    per_second: tuple[Second, ...] = Field(default=(), repr=False)
    histogram: dict[int, int] = Field(default={}, repr=False)
    """Bucket of :mod:`headway.domain.latency` to answers 2xx."""


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest-rank quantile of ascending values; None without any.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5), quantile([1.0, 2.0], 0.99), quantile([], 0.5)
    (2.0, 2.0, None)
    """
    if not len(ordered):
        return None
    return ordered[min(len(ordered), max(1, math.ceil(share * len(ordered)))) - 1]


def quantiles(values: array[float] | Sequence[float]) -> dict[str, Any]:
    """``p50``, ``p95`` and ``p99``."""
    ordered = sorted(values)
    return {"p50": quantile(ordered, 0.50), "p95": quantile(ordered, 0.95), "p99": quantile(ordered, 0.99)}
