"""How much of the work waits at a replica, and how much here."""

from __future__ import annotations

FIRST_LIMIT, SMALLEST_LIMIT, LARGEST_LIMIT = 256.0, 1.0, 1024.0
LATE_SHARE = 0.5
"""An answer that took more than this part of the time its request had counts as late …"""
WORSE = 2.0
"""… if it took this many times as long as the quickest: asking less of a model that is slow by itself does not help it."""
EPOCH = 64
MANY_LATE, FEW_LATE = 0.1, 0.02
SHRINK, GROW = 0.7, 1.1


class AdaptiveLimit:
    """How many requests a replica is given at a time.

    While answers come in good time the limit is far away and grows; when many of an epoch come late it shrinks, until a
    replica can answer in time what it has been given. What is over it waits in the gateway, where a request that cannot
    be answered in time any more costs nothing: overloaded replicas work only for answers that somebody still gets.
    """

    __slots__ = ("_answers", "_full", "_late", "_quickest", "value")

    def __init__(self) -> None:
        self.value = FIRST_LIMIT
        self._answers = self._late = 0
        self._full = False
        self._quickest = float("inf")

    def observe(self, took: float, budget: float, outstanding: int) -> None:
        """An answer came, or was given up, after ``took`` of the ``budget`` seconds that its request had, when there were
        ``outstanding`` of them."""
        self._answers += 1
        if took < self._quickest:
            self._quickest = took
        elif took > LATE_SHARE * budget and took > WORSE * self._quickest:
            self._late += 1
        self._full = self._full or outstanding >= self.value
        if self._answers >= EPOCH or self._answers >= max(8.0, self.value):
            self._adapt(self._late / self._answers)

    def _adapt(self, late: float) -> None:
        if late > MANY_LATE:
            self.value = max(SMALLEST_LIMIT, self.value * SHRINK)
        elif self._full and late < FEW_LATE:
            self.value = min(LARGEST_LIMIT, self.value * GROW + 1)
        self._answers = self._late = 0
        self._full = False


class Pace:
    """How fast a version answers while requests wait for it, and how long it takes for one."""

    __slots__ = ("_answers", "_last", "_seconds", "typical")

    REMEMBERED = 0.98
    ENOUGH = 8.0

    def __init__(self) -> None:
        self.typical = 0.0
        """Seconds from sending to answer, lately."""
        self._answers = self._seconds = 0.0
        self._last: float | None = None

    def answered(self, took: float, now: float, *, crowded: bool) -> None:
        """An answer came; ``crowded`` while others wait to be sent."""
        self.typical += 0.1 * (took - self.typical)
        if crowded:
            if self._last is not None:
                self._answers = self._answers * self.REMEMBERED + 1
                self._seconds = self._seconds * self.REMEMBERED + (now - self._last)
            self._last = now
        elif self._last is not None:
            self._last = None
            self._answers = self._seconds = 0.0

    def wait(self, place: int) -> float:
        """Seconds until the request at this place of the line is answered; 0 while nothing is known."""
        return self.typical + place * self._seconds / self._answers if self._answers >= self.ENOUGH else 0.0

    def is_too_late(self, left: float) -> bool:
        """Whether a request with ``left`` seconds would most likely be answered too late. Each yes makes the next one less
        likely: what is believed is only learnt from requests that are sent."""
        if left >= self.typical:
            return False
        self.typical *= 0.9
        return True
