"""Writing a journal: one unbuffered write a frame, synced in groups, never in the way of the program that writes."""

from __future__ import annotations

import secrets

from headway.journal.base import StreamWriter
from headway.journal.codec import encode_frame
from headway.journal.health import Durability, JournalHealth
from headway.journal.syncer import SYNC_SECONDS

__all__ = ["SYNC_SECONDS", "Durability", "JournalHealth", "JournalWriter", "new_writer_id"]


def new_writer_id() -> str:
    """A random id for one opening of one stream."""
    return secrets.token_hex(8)


class JournalWriter(StreamWriter[bytes]):
    """Appends frames; one that the disk does not take is dropped."""

    _count = 0

    def append(self, kind: int, payload: bytes) -> bool:
        """Write one frame; whether it is as safe as :class:`Durability` says.

        Raises:
            PayloadTooLargeError: ``payload`` does not fit into a frame.
        """
        return self._put(encode_frame(kind, payload))

    def _encode(self, item: bytes) -> bytes:
        return item

    def _weigh(self, item: bytes) -> tuple[int, int]:
        return len(item), 0

    def _note(self, item: bytes) -> None:  # noqa: ARG002
        self._count += 1

    def _frames(self) -> int:
        return 1 + self._count + self._ended
