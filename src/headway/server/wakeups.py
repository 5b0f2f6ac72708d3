"""Wakes whoever waits for a change: worker threads and coroutines alike."""

from __future__ import annotations

import asyncio
import threading
import time


class Wakeups:
    """A number that grows with every change. One waits for it to pass the number that one has seen.

    Reading the number *before* looking at the data makes it impossible to miss a change in between.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._generation = 0
        self._closed = False
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def waiting(self) -> int:
        """How many coroutines wait at this moment."""
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether the server is ending; streams end then, so that clients go on elsewhere."""
        return self._closed

    def notify(self) -> None:
        """Something changed. Callable from any thread."""
        with self._condition:
            self._generation += 1
            self._condition.notify_all()
            waiting, self._waiting = self._waiting, set()
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        self._closed = True
        self.notify()

    def wait_blocking(self, seen: int, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for a change after ``seen``; return the present number."""
        deadline = time.monotonic() + timeout
        with self._condition:
            while self._generation <= seen and not self._closed:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                self._condition.wait(remaining)
            return self._generation

    async def wait(self, seen: int, timeout: float) -> int:
        """The same for coroutines."""
        key = (asyncio.get_running_loop(), asyncio.Event())
        with self._condition:
            if self._generation > seen or self._closed:
                return self._generation
            self._waiting.add(key)
        try:
            await asyncio.wait_for(key[1].wait(), timeout)
        except asyncio.TimeoutError:
            pass
        finally:
            with self._condition:
                self._waiting.discard(key)
        return self._generation
