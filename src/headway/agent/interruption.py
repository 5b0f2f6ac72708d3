"""How work that may take long is told to end: a flag that also ends child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from headway.errors import WorkspaceError


class Interruption:
    """Set once; whoever works looks at it between steps. Safe from any thread (not from a signal handler)."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._processes: set[subprocess.Popen[bytes]] = set()

    def set(self) -> None:
        """From now on :meth:`check` raises, and processes inside :meth:`ending` are ended with their groups."""
        self.event.set()
        for process in tuple(self._processes):
            _end(process)

    def check(self) -> None:
        """WorkspaceError once interrupted."""
        if self.event.is_set():
            raise WorkspaceError("The replica was stopped before it started.")

    @contextmanager
    def ending(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Ends ``process`` (which leads a process group) on interruption, and in any case when the block is left."""
        self._processes.add(process)
        if self.event.is_set():
            _end(process)
        try:
            yield
        finally:
            self._processes.discard(process)
            if process.poll() is None:
                _end(process)
                process.wait()
            if process.stderr is not None:
                process.stderr.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """The group is named by a child that is not waited for yet, so its number cannot belong to somebody else."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
