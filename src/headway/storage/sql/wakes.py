"""Who wants to hear of commits, and a thread that tells them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

Wake = Callable[[], None]


class Subscribers:
    """Callbacks, called one after the other. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wakes: dict[object, Wake] = {}

    def add(self, wake: Wake) -> Callable[[], None]:
        """Call ``wake`` from now on; returns how to end that."""
        key = object()
        with self._lock:
            self._wakes[key] = wake
        return lambda: self._remove(key)

    def call(self) -> None:
        """Call each. One that raises is logged and keeps nobody else from being called."""
        with self._lock:
            wakes = list(self._wakes.values())
        for wake in wakes:
            try:
                wake()
            except Exception:  # its fault must not end the thread that wakes all the others
                log.exception("A subscriber to commits failed.")

    def _remove(self, key: object) -> None:
        with self._lock:
            self._wakes.pop(key, None)


class LocalWakes:
    """Wakes subscribers of this process after its own commits; several commits in a row may wake once."""

    def __init__(self) -> None:
        self._subscribers = Subscribers()
        self._condition = threading.Condition()
        self._due = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def subscribe(self, wake: Wake) -> Callable[[], None]:
        with self._condition:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="headway-storage-wakes", daemon=True)
                self._thread.start()
        return self._subscribers.add(wake)

    def notify(self) -> None:
        """Something was committed."""
        with self._condition:
            self._due = True
            self._condition.notify()

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._due or self._closed)
                if self._closed:
                    return
                self._due = False
            self._subscribers.call()
