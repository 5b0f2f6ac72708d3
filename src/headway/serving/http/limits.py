"""Sizes and times that bound what one client can cost."""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Bytes, counts and seconds."""

    head: int = 16 * KIB
    """Request line and headers together."""
    headers: int = 100
    body: int = 64 * MIB
    buffered: int = 1024 * MIB
    """Bodies of all requests that are being read or answered."""
    connections: int = 10_000
    pipelined: int = 64
    """Requests of one connection that are with the handler at a time; with as many unanswered it is no longer read."""
    head_time: float = 10.0
    """For a whole head, from its first byte (or from the connection)."""
    body_stall: float = 20.0
    """For a body that does not grow by ``body_rate``."""
    body_rate: int = 4 * KIB
    """Bytes a second that a slow body must reach."""
    idle_time: float = 75.0
    """Between two requests on one connection."""
    write_time: float = 60.0
    """For a client to take what was written to it."""
    linger_time: float = 5.0
    """How long the rest of a refused request is read and thrown away, so that the answer is not lost to a reset."""


class BodyBudget:
    """The bytes of all bodies in memory, under one limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self, count: int) -> bool:
        """Whether ``count`` more bytes fit; if so they are counted."""
        if self.used + count > self.limit:
            return False
        self.used += count
        return True

    def give(self, count: int) -> None:
        """``count`` bytes are no longer held."""
        self.used -= count
