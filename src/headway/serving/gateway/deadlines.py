"""Thousands of deadlines under one timer."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

TICK_SECONDS = 0.02
"""A deadline is kept at most this late."""


class Dated(Protocol):
    """What has a deadline."""

    def expire(self) -> None: ...


class Deadlines:
    """Calls ``expire`` of what is still there when its time has come. Adding and removing cost one set operation each,
    and while nothing is there no timer runs."""

    def __init__(self) -> None:
        self._ticks: dict[int, set[Dated]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0

    def add(self, thing: Dated, moment: float) -> int:
        """Have ``thing`` expire at ``moment`` of the monotonic clock; answers what :meth:`remove` wants to know."""
        tick = max(int(moment / TICK_SECONDS) + 1, self._next)
        things = self._ticks.get(tick)
        if things is None:
            self._ticks[tick] = {thing}
            if self._timer is None:
                self._plan()
        else:
            things.add(thing)
        return tick

    def remove(self, thing: Dated, tick: int) -> None:
        """It needs no deadline any more."""
        things = self._ticks.get(tick)
        if things is not None:
            things.discard(thing)

    def _plan(self) -> None:
        now = monotonic()
        self._next = int(now / TICK_SECONDS) + 1
        self._timer = asyncio.get_running_loop().call_later(self._next * TICK_SECONDS - now, self._turn)

    def _turn(self) -> None:
        self._timer = None
        present = int(monotonic() / TICK_SECONDS)
        for tick in [each for each in self._ticks if each <= present]:
            for thing in list(self._ticks.pop(tick)):
                thing.expire()
        if self._ticks:
            self._plan()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
