"""The frames of a channel: many requests at once on one connection. ``docs/internals/serving.md`` has the format.

An end of a channel begins with :data:`PREFACE`, the server's followed by :data:`HELLO`; then come frames, each a
:data:`HEADER` and as many bytes as it says. No HTTP request begins with a NUL.
"""

from __future__ import annotations

import struct

MARK = b"\x00"
PREFACE = b"\x00headway-channel/1\r\n"
HELLO = struct.Struct(">II")
"""Bytes of the largest payload that the server takes, and how many requests it takes before it has answered one."""
HEADER = struct.Struct(">B3xIQ")
"""Kind, three bytes without a meaning, bytes of the payload, number of the request."""

REQUEST, ANSWER, PART, CANCEL, GOODBYE = 1, 2, 3, 4, 5
KINDS = frozenset((REQUEST, ANSWER, PART, CANCEL, GOODBYE))

LARGEST = 256 * 1024
"""Bytes of a payload. A larger request goes another way, a larger answer comes in parts."""
MOST = 1024
"""Requests of one channel that are not answered."""

Frame = tuple[int, int, bytes]
"""Kind, number of the request, payload."""


class FrameError(Exception):
    """What came is no frame. Nothing can be said of the bytes behind it."""


def frame(kind: int, number: int, payload: bytes = b"") -> bytes:
    """One frame.

    >>> frame(CANCEL, 7).hex()
    '04000000000000000000000000000007'
    """
    return HEADER.pack(kind, len(payload), number) + payload


class FrameReader:
    """Bytes to frames. It holds no more than one unfinished frame."""

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._held = bytearray()
        self._needed = HEADER.size

    @property
    def held(self) -> int:
        """Bytes of the frame that has begun and not ended."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole with ``data``.

        Raises:
            FrameError: One is of no known kind, or too large. Nothing may be fed after that.
        """
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return []
            data = bytes(self._held)
            self._held = bytearray()
        frames: list[Frame] = []
        start, size, needed = 0, len(data), HEADER.size
        while size - start >= HEADER.size:
            kind, length, number = HEADER.unpack_from(data, start)
            if kind not in KINDS:
                raise FrameError(f"{kind} is no kind of frame")
            if length > self._largest:
                raise FrameError(f"a frame of {length} bytes, and {self._largest} are the most")
            needed = HEADER.size + length
            if start + needed > size:
                break
            frames.append((kind, number, data[start + HEADER.size : start + needed]))
            start += needed
            needed = HEADER.size
        if start < size:
            self._held += data[start:] if start else data
            self._needed = needed
        return frames
