"""What a writer promises of a frame, and how well it keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Durability(str, Enum):
    """What an acknowledged frame survives."""

    PROCESS = "process"
    """The death of the process at once, a power loss after a second at most."""
    POWER = "power"
    """A power loss, too: every append is synced before it returns."""


@dataclass
class JournalHealth:
    """How a journal's writing goes. ``dropped_frames`` counts frames that are not in the file and never will be."""

    frames: int = 0
    bytes: int = 0
    dropped_frames: int = 0
    dropped_bytes: int = 0
    dropped_points: int = 0
    """Values of metrics in those frames."""
    kept_frames: int = 0
    """In memory only, until the disk has room again."""
    sync_errors: int = 0
    last_error: str | None = None

    @property
    def ok(self) -> bool:
        return not self.dropped_frames and not self.kept_frames and not self.sync_errors
