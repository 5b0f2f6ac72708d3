"""The loop that every worker is: look, act, wait for a change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headway.domain.base import now
from headway.errors import ConflictError, LeaseLostError, PlatformError
from headway.server.context import Platform
from headway.storage.base import Session

logger = logging.getLogger("headway.workers")

LEASE_SECONDS = 4.0
"""How soon the work of a server that was killed is taken up again. A living holder renews its lease meanwhile."""
RENEWAL_SECONDS = 1.0
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


@contextmanager
def leased(platform: Platform, subject: str) -> Iterator[Lease | None]:
    """A lease on ``subject`` for slow work, or None while somebody else holds it."""
    with platform.storage.write() as session:
        token = session.leases.acquire(subject, LEASE_SECONDS, now())
    if token is None:
        yield None
        return
    lease = Lease(platform, subject, token)
    try:
        with lease.renewed():
            yield lease
    except LeaseLostError:
        logger.info("the lease on %s was lost; its result is not applied", subject)
    finally:
        lease.release()


class Lease:
    """The right to apply the result of slow work, as long as it is held."""

    def __init__(self, platform: Platform, subject: str, token: str) -> None:
        self._platform, self._subject, self._token = platform, subject, token

    def check(self, session: Session) -> None:
        """LeaseLostError when somebody else took over; first thing in the session that applies."""
        session.leases.check(self._subject, self._token, now())

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Keep the lease from running out while the block works. A process that is paused for longer loses it."""
        over = threading.Event()
        keeper = threading.Thread(target=self._renew, args=(over,), name="headway-lease", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()

    def _renew(self, over: threading.Event) -> None:
        while not over.wait(RENEWAL_SECONDS):
            try:
                with self._platform.storage.write() as session:
                    if not session.leases.renew(self._subject, self._token, LEASE_SECONDS, now()):
                        return
            except (PlatformError, ConflictError):
                logger.warning("the lease on %s could not be renewed; it is tried again", self._subject)

    def release(self) -> None:
        try:
            with self._platform.storage.write() as session:
                session.leases.release(self._subject, self._token)
        except (PlatformError, ConflictError):
            logger.warning("the lease on %s runs out by itself", self._subject)
