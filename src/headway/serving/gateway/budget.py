"""How much more than its requests a deployment may send."""

from __future__ import annotations

SHARE = 0.1
"""Copies for each request."""
MOST_SAVED = 10.0
"""Copies that a deployment may send at once after many requests that needed none."""


class Budget:
    """How many copies a deployment may send."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = 0.0

    def earn(self) -> None:
        """A request was sent."""
        self._left = min(self._left + SHARE, MOST_SAVED)

    def spend(self) -> bool:
        """Whether a copy may be sent; it counts as sent then."""
        if self._left < 1 - 1e-9:
            return False
        self._left -= 1
        return True
