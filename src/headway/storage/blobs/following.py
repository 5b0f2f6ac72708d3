"""The SHA-256 of blobs that come in parts, computed while they come."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headway.storage.blobs.incoming import Incoming

if TYPE_CHECKING:
    from hashlib import _Hash

PARTS_AT_ONCE = 4
"""So many parts are digested between two answers, so that no sender waits long for the parts of the others."""
MOST = 1024


@dataclass
class _Progress:
    hasher: _Hash = field(default_factory=hashlib.sha256)
    following: int = 0
    """The first part that is not in the digest yet."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Following:
    """How far each upload is digested. A part that is there does not change, so a digest need not look back."""

    def __init__(self) -> None:
        self._uploads: dict[str, _Progress] = {}
        self._lock = threading.Lock()

    def advance(self, place: str, incoming: Incoming) -> None:
        """Take in some of the parts that are there and come next; at once when somebody else does that already."""
        progress = self._progress(place)
        if progress.lock.acquire(blocking=False):
            try:
                _follow(progress, incoming, PARTS_AT_ONCE)
            finally:
                progress.lock.release()

    def digest(self, place: str, incoming: Incoming) -> str:
        """Of all parts from the first to the first that is not there."""
        progress = self._progress(place)
        with progress.lock:
            _follow(progress, incoming, None)
            return progress.hasher.hexdigest()

    def forget(self, place: str) -> None:
        with self._lock:
            self._uploads.pop(place, None)

    def _progress(self, place: str) -> _Progress:
        with self._lock:
            while len(self._uploads) >= MOST and place not in self._uploads:
                self._uploads.pop(next(iter(self._uploads)))
            return self._uploads.setdefault(place, _Progress())


def _follow(progress: _Progress, incoming: Incoming, most: int | None) -> None:
    while most is None or most > 0:
        if incoming.digest(progress.following) is None:
            return
        for chunk in incoming.read(progress.following):
            progress.hasher.update(chunk)
        progress.following += 1
        most = None if most is None else most - 1
