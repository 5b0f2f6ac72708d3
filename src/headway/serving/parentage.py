"""A child that ends when this process does, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
"""Source: prctl(2)."""


def end_with_parent(number: int = signal.SIGKILL) -> Callable[[], None]:
    """What a child runs between fork and exec, so that the kernel sends it ``number`` when this process has ended.

    The signal comes when the *thread* that started the child ends, so it must be one that lasts.
    """
    # Looked up here: after a fork only what is loaded already may be used.
    prctl, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it ended in between
            os._exit(1)

    return arrange
