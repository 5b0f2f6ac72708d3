"""The right to do slow work that only one may do at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from headway.domain.base import now
from headway.errors import ConflictError, LeaseLostError, PlatformError
from headway.server.context import Platform
from headway.storage.base import Session

logger = logging.getLogger("headway.workers")

LEASE_SECONDS = 4.0
"""How soon the work of a server that was killed is taken up again. A living holder renews its lease meanwhile."""
RENEWAL_SECONDS = 1.0


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
