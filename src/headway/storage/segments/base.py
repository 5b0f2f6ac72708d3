"""The bytes of streams, as they were shipped."""

from __future__ import annotations

from typing import Protocol


class SegmentStore(Protocol):
    """Append-only byte strings by run and stream name, whose beginning can be given back.

    The *committed* length lives in the stream's record, not here: bytes past it may exist after a crash and are
    overwritten by the next write. Obligations (headway/testing/segments.py): after ``write`` returns, the bytes survive
    a power loss; a write at an offset beyond what is there, or before what was dropped, raises ValueError; a full disk
    raises StorageFullError and the bytes before ``offset`` stay as they were; a name that is no run id or stream name
    raises InvalidRequestError.
    """

    def write(self, run_id: str, name: str, offset: int, data: bytes) -> None:
        """Put ``data`` at ``offset``, replacing whatever lies beyond ``offset``."""
        ...

    def read(self, run_id: str, name: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``; fewer at the end, none when there is nothing.

        Raises:
            ConflictError: Bytes at ``offset`` were dropped.
        """
        ...

    def start(self, run_id: str, name: str) -> int:
        """Where the bytes that are there begin: 0 unless some were dropped."""
        ...

    def drop(self, run_id: str, name: str, before: int) -> None:
        """Give back bytes before ``before``: all of them when nothing follows, else at least those of whole parts.

        ``before`` and what follows stay as they are, and the stream goes on where it ended. Again is harmless.
        ValueError when ``before`` lies beyond the end.
        """
        ...

    def delete_run(self, run_id: str) -> None:
        """Remove every stream of a run and give back the space."""
        ...
