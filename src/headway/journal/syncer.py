"""The group sync: what was written is on the disk a second later at most, without anybody waiting for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

SYNC_SECONDS = 1.0
"""How long a frame waits at most for its fdatasync under the policy ``process``."""


class Syncer:
    """One thread that calls ``sync`` a second after it was first asked to, for all that was written until then."""

    def __init__(self, sync: Callable[[], object]) -> None:
        self._sync = sync
        self._asked = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def ask(self) -> bool:
        """Have the file synced within :data:`SYNC_SECONDS`. Only one thread at a time may call this."""
        if not self._asked.is_set():
            self._asked.set()
            if self._thread is None:
                self._start()
        return True

    def stop(self) -> None:
        """End the thread and wait for it, except from within (a finalizer may run there)."""
        self._stopping.set()
        self._asked.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="headway-journal-sync", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # No thread can be started any more (the interpreter ends): the kernel writes the pages back by itself.
            self._thread = None

    def _run(self) -> None:
        while True:
            self._asked.wait()
            if self._stopping.wait(SYNC_SECONDS):
                return
            self._asked.clear()
            self._sync()
