"""How much a workspace may hold: measured every few seconds, a guard against accidents and not against attackers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

LOOK_SECONDS = 2.0
PACE = 10
"""A measurement that takes long is not repeated before so many times as long has passed."""
BLOCK = 512
"""Bytes that ``st_blocks`` counts in, whatever the file system. Source: POSIX, <sys/stat.h>; Linux, stat(2)."""
GIB = 1 << 30


def used_bytes(root: Path) -> int:
    """What the files below ``root`` occupy on disk, each counted once however many names it has.

    Links are not followed, other file systems are. What comes or goes meanwhile is no error.
    """
    total, seen, waiting = 0, set(), [str(root)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                    except OSError:
                        continue
                    if status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in seen:
                            continue
                        seen.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * BLOCK
        except OSError:
            continue
    return total


class QuotaWatch:
    """Measures a directory on a thread of its own until it holds too much.

    Args:
        root: What is measured; it need not be there yet.
        limit: Bytes it may hold.
        on_exceeded: Called once, on that thread, with the reason.
    """

    def __init__(self, root: Path, limit: int, *, on_exceeded: Callable[[str], None]) -> None:
        self._root, self._limit, self._on_exceeded = root, limit, on_exceeded
        self._closed = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="quota", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        pause = 0.0
        while not self._closed.wait(pause):
            began = time.monotonic()
            used = used_bytes(self._root)
            if used > self._limit:
                self._on_exceeded(exceeded(used, self._limit))
                return
            pause = max(LOOK_SECONDS, PACE * (time.monotonic() - began))


def exceeded(used: int, limit: int) -> str:
    """Why a replica was ended.

    >>> exceeded(3 * GIB // 2, GIB)
    'its workspace holds 1.5 GiB, more than workspace_gib allows (1 GiB)'
    """
    return f"its workspace holds {used / GIB:.3g} GiB, more than workspace_gib allows ({limit / GIB:.3g} GiB)"
