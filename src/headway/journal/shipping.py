"""Shipping in the background: one thread sends all the streams of a process."""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from headway.errors import (
    AuthenticationError,
    HeadwayError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    UnavailableError,
)
from headway.journal.shipper import RETRYABLE, Shipper

PATIENT = (*RETRYABLE, AuthenticationError, PermissionDeniedError, NotFoundError)
"""What a trainer sits out: tokens are renewed, projects come back, and the journal is on the disk all the while."""
FIRST_PAUSE = 0.05
CLOSING_PAUSE = 1.0
"""Between two tries at most while somebody waits for the end."""

log = logging.getLogger(__name__)


@dataclass
class _Stream:
    shipper: Shipper
    error: HeadwayError | None = None
    """Why it is not sent any more."""

    @property
    def done(self) -> bool:
        return self.error is not None or self.shipper.closed


class ShippingGroup:
    """Ships any number of streams from one thread: at once when something was appended, merging what arrives meanwhile.

    Each journal's writer has ``notify`` as its ``on_append``. While the server is away or refuses the token, all wait and
    try again with growing, jittered pauses; nothing is ever dropped. An error that waiting cannot cure ends the shipping
    of its stream alone: the others go on, and its journal stays for a later try.

    Args:
        interval: Seconds between two rounds at least, so that a chatty program costs few requests.
        longest_pause: Seconds between two tries at most (more only if the server asks for it).
        retry: What to wait out.
        on_failure: Called from the thread for each stream that is given up (see ``errors``); must not raise.
        on_trouble: Called from the thread when a round fails after one that did not; must not raise.
    """

    def __init__(
        self,
        *,
        interval: float = 0.05,
        longest_pause: float = 60.0,
        retry: tuple[type[HeadwayError], ...] = PATIENT,
        on_failure: Callable[[HeadwayError], None] | None = None,
        on_trouble: Callable[[HeadwayError], None] | None = None,
    ) -> None:
        self._interval, self._longest_pause = interval, longest_pause
        self._retry = retry
        self._on_failure, self._on_trouble = on_failure, on_trouble
        self._streams: list[_Stream] = []
        # Putting into it is safe in a signal handler, also in one that interrupted a put.
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._called = False
        self._closing = self._stopping = False
        self._hurries: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._failures = 0
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def remaining(self) -> int:
        """Bytes of all streams that the server is not known to hold."""
        return sum(stream.shipper.remaining for stream in list(self._streams))

    @property
    def complete(self) -> bool:
        """Whether the server holds every stream and knows that nothing follows."""
        return all(stream.shipper.closed for stream in list(self._streams))

    @property
    def settled(self) -> bool:
        """Whether nothing is left to be tried: each stream is complete or was given up."""
        return all(stream.done for stream in list(self._streams))

    @property
    def errors(self) -> list[tuple[Shipper, HeadwayError]]:
        """The streams that were given up, and why."""
        return [(stream.shipper, stream.error) for stream in list(self._streams) if stream.error is not None]

    @property
    def waiting(self) -> bool:
        """Whether the last try failed and another one follows."""
        return self._failures > 0

    def add(self, shipper: Shipper) -> None:
        """Ship this stream, too; what is in it already goes at once. The shipper belongs to the thread from now on.

        Not after ``finish``.
        """
        with self._lock:
            self._streams.append(_Stream(shipper))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="headway-shipping", daemon=True)
                self._thread.start()
        self.notify()

    def notify(self) -> None:
        """Say that something was appended. Quick, never raises; signal handlers may call it."""
        if not self._called:
            self._called = True
            self._calls.put(None)

    def finish(self, timeout: float) -> int:
        """Ship the rest and close the streams, for at most ``timeout`` seconds; the bytes that are still left.

        The journals' writers have been closed before. When something is left the thread goes on, and ``finish`` may be
        called again.
        """
        if not self._closing:
            self._closing = True
            self._wake()
        if self._thread is not None:
            self._thread.join(timeout)
        return self.remaining

    def stop(self) -> None:
        """End the thread after the send that is under way, whatever is left. Does not wait for it."""
        self._stopping = True
        self._wake()

    def _wake(self) -> None:
        self._hurries.put(None)
        self._calls.put(None)

    def _run(self) -> None:
        while not self._stopping:
            self._calls.get()
            self._called = False
            self._pause(self._round())
            with self._lock:
                if self._closing and self.settled:
                    break
        for stream in list(self._streams):
            stream.shipper.release()

    def _round(self) -> float:
        """Send what is there; how long to wait before the next round."""
        failure: HeadwayError | None = None
        for stream in [stream for stream in list(self._streams) if not stream.done]:
            if self._stopping:
                break
            failure = self._ship(stream)
            if failure is not None:
                break
        if failure is None:
            self._failures = 0
            return self._interval
        if not self._failures and self._on_trouble:
            self._on_trouble(failure)
        self._failures += 1
        self._calls.put(None)
        return self._delay(failure)

    def _ship(self, stream: _Stream) -> HeadwayError | None:
        """Send what is there of one stream; the error that the whole group waits for."""
        try:
            stream.shipper.ship(close=self._closing)
        except self._retry as error:
            return error
        except HeadwayError as error:
            self._give_up(stream, error)
        except Exception as error:
            # The thread outlives faults in whatever carries the bytes.
            log.exception("the stream %s could not be sent", stream.shipper.path.name)
            return UnavailableError(f"Sending failed: {type(error).__name__}: {error}.")
        return None

    def _give_up(self, stream: _Stream, error: HeadwayError) -> None:
        stream.error = error
        stream.shipper.release()
        if self._on_failure:
            self._on_failure(error)

    def _pause(self, seconds: float) -> None:
        """Wait, but not when ``finish`` or ``stop`` was called in between."""
        try:
            self._hurries.get(timeout=seconds)
        except queue.Empty:
            pass

    def _delay(self, error: HeadwayError) -> float:
        longest = min(self._longest_pause, FIRST_PAUSE * 2.0 ** min(self._failures, 16))
        if self._closing:
            longest = min(longest, CLOSING_PAUSE)
        asked = error.retry_after if isinstance(error, RateLimitedError) else 0.0
        return max(longest * random.uniform(0.5, 1.0), min(asked, 60.0))  # noqa: S311 - spreads load, protects nothing
