"""Where a model is called: on the event loop while that is quick, in its own thread otherwise.

A hop to a thread and back costs about as much as a small model's prediction, and a slow prediction on the loop would hold up
everybody, health checks included. So the time of calls is measured, for each power of two of rows, and decides.
"""

from __future__ import annotations

import resource
import time
from typing import Literal

SLOW = 0.004
"""Seconds on average, above which calls leave the loop …"""
FAST = 0.002
"""… and below which they come back."""
SHARE = 0.25
"""Of the newest call in the average."""
LONGEST = 3 * SLOW
"""What one call counts at most, so that a single stall (the machine was busy) moves nothing and two do."""

_OF_THREAD = getattr(resource, "RUSAGE_THREAD", None)
"""Linux tells of each thread; elsewhere only the wall clock is known."""

Execution = Literal["loop", "thread"]


class Pace:
    """What is known of a model's speed. A model begins in its thread; a ``pinned`` one stays there."""

    def __init__(self, *, pinned: bool) -> None:
        self.pinned = pinned
        self.execution: Execution = "thread"
        """Where the last call was made."""
        self._means: dict[int, float] = {}
        self._quick: set[int] = set()

    def choose(self, rows: int) -> Execution:
        """Where a call with so many rows is made."""
        self.execution = "loop" if not self.pinned and self._is_quick(rows.bit_length()) else "thread"
        return self.execution

    def _is_quick(self, size: int) -> bool:
        if size in self._means:
            return size in self._quick
        smaller = [known for known in self._means if known < size]
        if not smaller:
            return False
        nearest = max(smaller)
        return self._means[nearest] * 2.0 ** (size - nearest) < FAST

    def observe(self, rows: int, seconds: float) -> None:
        """A call with so many rows took so long."""
        size, counted = rows.bit_length(), min(seconds, LONGEST)
        mean = self._means.get(size)
        mean = self._means[size] = counted if mean is None else mean + SHARE * (counted - mean)
        if mean > SLOW:
            self._quick.discard(size)
        elif mean < FAST:
            self._quick.add(size)


class Stopwatch:
    """Runs from its making, in one thread.

    A call that never waited for anything costs what it used of the processor: how long others had that, on a busy
    machine, says nothing about it. One that did wait (for threads of its own, a device, the GIL) costs what the clock says.
    """

    def __init__(self) -> None:
        self._used, self._waits = _usage()
        self._began = time.perf_counter()

    def seconds(self) -> float:
        elapsed = time.perf_counter() - self._began
        used, waits = _usage()
        return elapsed if waits != self._waits else min(elapsed, used - self._used)


def _usage() -> tuple[float, int]:
    """Seconds of processor that this thread has used, and how often it has waited."""
    if _OF_THREAD is None:
        return time.thread_time(), int(time.perf_counter() * 1e9)
    usage = resource.getrusage(_OF_THREAD)
    return usage.ru_utime + usage.ru_stime, usage.ru_nvcsw
