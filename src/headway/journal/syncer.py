"""The group sync: what was written is on the disk a second later at most, without anybody waiting for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

SYNC_SECONDS = 1.0
"""How long a frame waits at most for its fdatasync under the policy ``process``."""


class Syncer:
    """One thread that calls ``sync`` a second after it was first asked to, for all that was written until then."""

    def __init__(self, sync: Callable[[], object]) -> None:
        self._sync = sync
        # Putting into these is safe in a signal handler, also in one that interrupted a put; setting an event is not.
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stops: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._asked = False
        self._thread: threading.Thread | None = None
        self._hopeless = False

    def ask(self) -> bool:
        """Have the file synced within :data:`SYNC_SECONDS`. Only one thread at a time may call this."""
        if self._thread is None and not self._hopeless:
            self._start()
        if not self._asked:
            self._asked = True
            self._calls.put(None)
        return True

    def stop(self) -> None:
        """End the thread and wait for it, except from within (a finalizer may run there)."""
        self._stops.put(None)
        self._calls.put(None)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="headway-journal-sync", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if "new thread" not in str(error):
                raise  # a signal handler's
            # None can be started any more (the interpreter ends): the kernel writes the pages back by itself.
            self._hopeless = True
        else:
            self._thread = thread

    def _run(self) -> None:
        while True:
            self._calls.get()
            if self._is_stopped_within(SYNC_SECONDS):
                self._calls.put(None)
                return
            self._asked = False
            self._sync()

    def _is_stopped_within(self, seconds: float) -> bool:
        try:
            self._stops.get(timeout=seconds)
        except queue.Empty:
            return False
        # For another thread, too: a signal handler may have started one while the first one was being started.
        self._stops.put(None)
        return True
