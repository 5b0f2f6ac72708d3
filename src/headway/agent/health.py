"""Asking a program that listens whether it answers."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Seconds between two looks while the program starts."""
SHARE = 0.05
"""Of the time that it has taken to start so far: how much longer than needed that time may become through the pauses."""
CHECK_SECONDS = 2.0
"""Seconds between two looks once it has answered."""
ANSWER_SECONDS = 5.0
FAILURES = 3
"""So many in a row mean that the program does not answer any more."""


class HealthWatch:
    """Looks at ``http://host:port/path`` on a thread of its own: every 200 counts as an answer.

    Args:
        host: Where the program listens.
        port: On which port.
        path: What to ask for, with a leading ``/``.
        on_ready: Called once, with the first answer.
        on_silent: Called once, when a program that had answered does not do so any more.
    """

    def __init__(
        self, host: str, port: int, path: str, *, on_ready: Callable[[], None], on_silent: Callable[[], None]
    ) -> None:
        self._host, self._port = host, port
        self._path = path if path.startswith("/") else f"/{path}"
        self._on_ready, self._on_silent = on_ready, on_silent
        self._closed = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="health", daemon=True).start()

    def close(self) -> None:
        """No call follows, but for one that is being made."""
        self._closed.set()

    def _watch(self) -> None:
        if not self._wait_ready():
            return
        self._on_ready()
        failures = 0
        while failures < FAILURES:
            if self._closed.wait(CHECK_SECONDS):
                return
            failures = 0 if self.answers() else failures + 1
        if not self._closed.is_set():
            self._on_silent()

    def _wait_ready(self) -> bool:
        began = time.monotonic()
        while not self.answers():
            pause = SHARE * (time.monotonic() - began)
            if self._closed.wait(min(max(pause, FIRST_PAUSE), LONGEST_PAUSE)):
                return False
        return not self._closed.is_set()

    def answers(self) -> bool:
        """Whether the program answers 200 now."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", self._path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
