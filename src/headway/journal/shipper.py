"""Sending a journal to the server by byte offset: it appends only what it lacks, so sending again is harmless."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from headway.errors import (
    ConnectionFailedError,
    CorruptDataError,
    NotFoundError,
    OffsetConflictError,
    PayloadTooLargeError,
    PlatformError,
    RateLimitedError,
    UnavailableError,
)

CHUNK = 1 << 20
_SMALLEST_CHUNK = 4 << 10
_CONFLICTS = 8
"""How many times in a row the server may send us elsewhere before we take a pause."""

RETRYABLE = (ConnectionFailedError, PlatformError, RateLimitedError)
"""What goes away by waiting. Everything else would only be answered in the same way again."""


class StreamSink(Protocol):
    """Where a stream goes: one stream of one run, written by one writer."""

    def send(self, offset: int, data: bytes, *, close: bool) -> int:
        """Offer ``data``, which begins at ``offset``; the bytes that are held durably afterwards.

        ``close`` says that the stream is complete with this. Sending again what was sent is harmless.

        Raises:
            OffsetConflictError: ``offset`` leaves a gap behind what is held, or the stream has another writer.
            PayloadTooLargeError: ``data`` should come in smaller pieces.
            ConnectionFailedError, PlatformError, RateLimitedError: Try again later.
        """
        ...


class Shipper:
    """Sends one journal file, from wherever the server stands, in pieces of at most a MiB.

    It keeps no state on disk: it begins at offset 0 in hope and follows the server's answers, so it can be made anew at
    any time. Not thread-safe.

    Args:
        path: The journal.
        sink: Where it goes.
        limit: How many bytes of the file are whole frames, asked before each read: ``lambda: writer.position`` beside a
            living writer (which may take back a torn frame), by default all bytes.
        chunk: Bytes a send.

    Raises:
        NotFoundError: There is no such file.
    """

    def __init__(
        self, path: Path, sink: StreamSink, *, limit: Callable[[], int] | None = None, chunk: int = CHUNK
    ) -> None:
        self.path = path
        self.position = 0
        """Bytes that the server holds durably, as far as it told."""
        self.closed = False
        """Whether the server knows that the stream is complete."""
        self._sink = sink
        self._chunk = chunk
        self._length = 0
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError(f"There is no journal {str(path)!r}.") from None
        self._limit = limit or self._file_length

    @property
    def remaining(self) -> int:
        """Bytes that the server is not known to hold."""
        return max(0, self._limit() - self.position)

    def ship(self, *, close: bool = False) -> None:
        """Send all that is there, and with ``close`` mark the stream complete. Returns when nothing is left.

        Raises:
            ConnectionFailedError, PlatformError, RateLimitedError: Call again later; nothing is lost.
            OffsetConflictError: The stream belongs to another writer.
            CorruptDataError: The server holds more than this file has.
            HeadwayError: The server refuses for good.
        """
        conflicts = 0
        while self._limit() > self.position or (close and not self.closed):
            try:
                self._send_piece(close)
                conflicts = 0
            except OffsetConflictError as error:
                conflicts += 1
                self._follow(error, conflicts)
            except PayloadTooLargeError:
                if self._chunk <= _SMALLEST_CHUNK:
                    raise
                self._chunk = max(_SMALLEST_CHUNK, self._chunk // 2)

    def release(self) -> None:
        """Close the file. Calling it twice is harmless."""
        if self._descriptor >= 0:
            self._length = self._file_length()
            os.close(self._descriptor)
            self._descriptor = -1

    def _send_piece(self, close: bool) -> None:
        limit = self._limit()
        data = self._read(min(self._chunk, max(0, limit - self.position)))
        last = close and self.position + len(data) >= limit
        if not data and not last:
            raise CorruptDataError(f"The journal {self.path.name} became shorter while it was read.")
        committed = self._sink.send(self.position, data, close=last)
        sent_at = self.position
        self.closed = last and committed >= limit
        self._move(committed)
        if data and committed <= sent_at:
            raise UnavailableError(f"The server holds {committed} bytes after a piece at {sent_at} was sent.")

    def _read(self, length: int) -> bytes:
        try:
            return os.pread(self._descriptor, length, self.position)
        except OSError as error:
            raise CorruptDataError(f"The journal {self.path.name} cannot be read: {error.strerror}.") from error

    def _follow(self, error: OffsetConflictError, conflicts: int) -> None:
        if error.committed == self.position:
            # The offset was right, so it is the writer that was not.
            raise error
        if conflicts > _CONFLICTS:
            raise UnavailableError(f"The server changed its mind {conflicts} times about where to go on.") from error
        self._move(error.committed)

    def _move(self, committed: int) -> None:
        length = self._file_length()
        if not 0 <= committed <= length:
            raise CorruptDataError(
                f"The server holds {committed} bytes of {self.path.name}, which has {length}.",
                hint="Another writer used the same stream name.",
            )
        self.position = committed

    def _file_length(self) -> int:
        return self._length if self._descriptor < 0 else os.fstat(self._descriptor).st_size
