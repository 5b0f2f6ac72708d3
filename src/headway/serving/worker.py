"""The one thread that a model lives in.

It is loaded there and every prediction runs there, so that the event loop stays free to answer health checks, and a model
that minds its thread (a SQLite connection, a CUDA context) is content.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, cast

T = TypeVar("T")

_Call = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class ModelWorker:
    """Runs calls one after the other. The thread is a daemon: a call that never returns does not keep the process."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self.waiting = 0
        """Calls that were asked for and have not ended."""
        threading.Thread(target=self._work, name="headway-model", daemon=True).start()

    async def run(self, call: Callable[[], T]) -> T:
        """What ``call`` returns or raises. Cancelled while it waits in the queue, it is never made."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.waiting += 1
        self._calls.put((call, future))
        try:
            return cast(T, await future)
        except asyncio.CancelledError:
            future.cancel()
            raise

    def _work(self) -> None:
        while True:
            call, future = self._calls.get()
            result, error = None, None
            if not future.cancelled():
                try:
                    result = call()
                except BaseException as raised:  # noqa: BLE001  # handed to the caller
                    error = raised
            try:
                self._loop.call_soon_threadsafe(self._done, future, result, error)
            except RuntimeError:
                return  # the loop has ended

    def _done(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self.waiting -= 1
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        elif isinstance(error, StopIteration):
            future.set_exception(RuntimeError(f"StopIteration: {error}"))
        else:
            future.set_exception(error)
