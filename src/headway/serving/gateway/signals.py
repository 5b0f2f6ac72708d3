"""Waiting for something to change, with a limit."""

from __future__ import annotations

import asyncio


class Signal:
    """Wakes everybody who waits, each time it fires."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[bool]] = set()

    def fire(self) -> None:
        for waiter in self._waiters:
            _settle(waiter, True)

    async def wait(self, seconds: float) -> bool:
        """Whether it fired within ``seconds``."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        limit = loop.call_later(max(seconds, 0.0), _settle, waiter, False)
        self._waiters.add(waiter)
        try:
            return await waiter
        finally:
            limit.cancel()
            self._waiters.discard(waiter)


def _settle(waiter: asyncio.Future[bool], value: bool) -> None:
    if not waiter.done():
        waiter.set_result(value)
