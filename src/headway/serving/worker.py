"""The one thread that a model lives in.

It is loaded there, and predicts there whenever it is not known to be quick, so that the event loop stays free to answer
health checks, and a model that minds its thread (a SQLite connection, a CUDA context) is content.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, cast

T = TypeVar("T")

Done = Callable[[Any, "BaseException | None"], None]
"""Told what a call returned, or what it raised, in the loop's thread."""


class ModelWorker:
    """Runs calls one after the other. The thread is a daemon: a call that never returns does not keep the process."""

    def __init__(self, name: str = "headway-model") -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Done]] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, call: Callable[[], Any], done: Done) -> None:
        """Make a call in the thread and tell ``done`` its outcome in the loop's."""
        self._calls.put((call, done))

    async def run(self, call: Callable[[], T]) -> T:
        """What ``call`` returns or raises."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(result: Any, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if isinstance(error, StopIteration):
                future.set_exception(RuntimeError(f"StopIteration: {error}"))
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.submit(call, done)
        return cast(T, await future)

    def _work(self) -> None:
        while True:
            call, done = self._calls.get()
            result, error = None, None
            try:
                result = call()
            except BaseException as raised:  # noqa: BLE001  # handed to the caller
                error = raised
            try:
                self._loop.call_soon_threadsafe(done, result, error)
            except RuntimeError:
                return  # the loop has ended
            del call, done, result, error
