"""The loop that every worker is: look, act, wait for a change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from headway.server.actions.leases import Lease, leased
from headway.server.context import Platform

__all__ = ["Lease", "Pacer", "Reconciler", "leased"]

logger = logging.getLogger("headway.workers")

PAUSE_BETWEEN_LOOKS = 0.02
"""Merges changes that come in quick succession, such as shipped log lines, into one look."""
OBSERVE_SECONDS = 0.9
"""How often the engine is asked about one attempt, however often something changes."""


class Pacer:
    """Says when it is time to ask about something again."""

    def __init__(self, every: float = OBSERVE_SECONDS) -> None:
        self._every = every
        self._asked: dict[str, float] = {}

    def due(self, subject: str) -> bool:
        """Whether ``subject`` was not asked about lately; asking counts from now on."""
        moment = time.monotonic()
        if moment - self._asked.get(subject, -self._every) < self._every:
            return False
        if len(self._asked) > 10_000:
            self._asked.clear()
        self._asked[subject] = moment
        return True


class Reconciler(threading.Thread):
    """Calls ``look`` whenever something changed (``on_change``), and every ``every`` seconds all the same.

    A look that fails is logged and tried again at the next change: everything it does is idempotent.
    """

    def __init__(
        self, platform: Platform, name: str, look: Callable[[], None], *, every: float, on_change: bool = True
    ) -> None:
        super().__init__(name=f"headway-{name}", daemon=True)
        self._platform, self._look, self._every, self._on_change = platform, look, every, on_change
        self._ending = threading.Event()

    def run(self) -> None:
        seen = -1
        while not self._ending.is_set() and not self._platform.wakeups.closed:
            seen = max(seen, self._platform.wakeups.generation)
            try:
                self._look()
            except Exception:
                logger.exception("%s: the look failed; it is tried again", self.name)
            self._ending.wait(PAUSE_BETWEEN_LOOKS)
            if self._on_change:
                self._platform.wakeups.wait_blocking(seen, self._every)
            else:
                self._ending.wait(self._every)

    def end(self) -> None:
        """Finish the present look and no more."""
        self._ending.set()
        self._platform.wakeups.notify()
