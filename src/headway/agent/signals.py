"""Signals as events.

A handler that runs between two instructions of the main thread comes too late when that thread is just about to wait. So
the interpreter's own C handler writes into a pipe, at once, and a thread reads it.
"""

from __future__ import annotations

import os
import queue
import signal
import threading

from headway.agent.events import ChildChanged, Event, Terminate


class SignalPipe:
    """From here on SIGTERM and SIGCHLD go into a pipe, and what a terminal sends is ignored. Main thread only."""

    def __init__(self) -> None:
        self._reading, writing = os.pipe()
        os.set_blocking(writing, False)
        # A full pipe holds news enough.
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def forward(self, events: queue.SimpleQueue[Event]) -> None:
        """Start the thread that turns signals, also those that have come already, into events."""
        threading.Thread(target=self._read, args=(events,), name="signals", daemon=True).start()

    def _read(self, events: queue.SimpleQueue[Event]) -> None:
        while numbers := os.read(self._reading, 1024):
            if signal.SIGTERM in numbers:
                events.put(Terminate())
            if signal.SIGCHLD in numbers:
                events.put(ChildChanged())
