"""Telling a journal that is being written from one that was left behind.

A writer holds an exclusive ``flock`` on its file from before the first byte until it closes or dies; the kernel lets go
of it however the process ends. A forked child closes its copy of the file at once.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def hold(descriptor: int) -> None:
    """Mark a file that was just made as being written. File systems without locks let it pass."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        pass


def is_live(path: Path) -> bool:
    """Whether somebody is writing ``path``. Where that cannot be told (no locks there) the answer is yes.

    A file that is empty has no writer worth waiting for. To be sure about a file that has bytes, nothing else is needed:
    the lock is older than they are.

    Raises:
        OSError: The file is missing or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not os.fstat(descriptor).st_size:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
