"""Hears of the commits of every server: a connection that LISTENs, and a thread that keeps it alive."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable
from typing import Any

import psycopg

from headway.storage.sql.wakes import Subscribers, Wake

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
CHECK_SECONDS = 60.0
"""After this much silence the connection is tried, so that a database that vanished without a word is noticed."""


class Listener:
    """Wakes its subscribers after a notice on ``channel``, and after it has connected: notices were lost meanwhile."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], channel: str) -> None:
        self._connect = connect
        self._channel = channel
        self._subscribers = Subscribers()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop_read, self._stop_write = os.pipe()
        self._closed = False

    def subscribe(self, wake: Wake) -> Callable[[], None]:
        end = self._subscribers.add(wake)
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="headway-storage-listener", daemon=True)
                self._thread.start()
        return end

    def close(self) -> None:
        """End the thread; once."""
        with self._lock:
            self._closed = True
        os.write(self._stop_write, b"x")
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._closed:
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {self._channel}")
                    pause = FIRST_PAUSE_SECONDS
                    self._subscribers.call()
                    self._follow(connection)
            except psycopg.Error as error:
                log.warning("The database does not tell of commits (%s); trying again.", type(error).__name__)
                self._wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _follow(self, connection: psycopg.Connection[Any]) -> None:
        """Until close is called, or the connection is lost (psycopg.Error)."""
        while not self._closed:
            ready = self._wait(CHECK_SECONDS, connection.fileno())
            if not ready:
                connection.execute("SELECT 1")
                self._subscribers.call()
            elif connection.fileno() in ready:
                connection.pgconn.consume_input()
                if _drain(connection):
                    self._subscribers.call()

    def _wait(self, seconds: float, *descriptors: int) -> list[int]:
        poll = select.poll()
        for descriptor in (self._stop_read, *descriptors):
            poll.register(descriptor, select.POLLIN)
        return [descriptor for descriptor, _ in poll.poll(seconds * 1000)]


def _drain(connection: psycopg.Connection[Any]) -> bool:
    """Take all notices that have arrived; whether there were any."""
    found = False
    while connection.pgconn.notifies() is not None:
        found = True
    return found
