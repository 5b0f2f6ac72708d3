"""The right to write without a lock."""

from __future__ import annotations

import sys


class Lane:
    """The right of one thread to write without taking the lock, for as long as no other thread writes.

    The thread sets ``busy``, looks at ``revoked``, and writes. Another one, holding the lock, sets ``revoked`` and waits
    while ``busy``. Attributes are read and written in order under the interpreter's lock; without it no lane is given.
    """

    __slots__ = ("busy", "revoked", "thread")

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.busy = False
        self.revoked = False


NO_LANE = Lane(-1)
LANES = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether this interpreter runs one thread at a time."""
