"""Records of an event file: TFRecord framing, read from any offset, past damage, and again when the file has grown.

A record is ``<length u64 LE><crc u32 of the length><payload><crc u32 of the payload>``, with masked CRC-32C checksums
(TensorFlow, tensorflow/core/lib/io/record_writer.h). TensorBoard's own reader of it can neither begin at an offset nor go
on behind damage, so only its checksum is used here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_RECORD = 256 << 20
"""Bytes of a record that is read; larger ones (graphs) are stepped over and counted."""
_HEAD = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_CHUNK = 1 << 20
_HIGH_ZEROS = b"\0\0\0\0"
"""The upper half of every length that there is."""

Checksum = Callable[[bytes], int]


@dataclass
class Damage:
    """What could not be read of a file. Counts only grow."""

    corrupt: int = 0
    """Records, or stretches of bytes, whose checksum is wrong."""
    oversized: int = 0
    """Records of more than :data:`MAX_RECORD` bytes."""


class RecordReader:
    """Reads the records of an open event file.

    Args:
        file: Opened for reading bytes.
        offset: Where to begin: 0, or an :attr:`offset` of an earlier reader.
        checksum: The masked CRC-32C of some bytes.
    """

    def __init__(self, file: BinaryIO, offset: int, checksum: Checksum) -> None:
        self.offset = offset
        """Up to where everything was given, stepped over or counted: where to go on, now or in another process."""
        self.damage = Damage()
        self._file = file
        self._checksum = checksum
        self._searching = False

    def read(self) -> Iterator[bytes]:
        """The payloads from :attr:`offset` to the last whole record that there is now.

        A record that is cut off at the end may be one that is being written: it is given by a later call, once it is whole.
        """
        self._file.seek(self.offset)
        while len(head := self._file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            if self._checksum(head[:8]) != checksum:
                self.damage.corrupt += not self._searching
                self._searching = True
                self._find_head()
                continue
            self._searching = False
            if length > MAX_RECORD:
                if not self._step_over(length):
                    return
            else:
                body = self._file.read(length + _CHECKSUM.size)
                if len(body) < length + _CHECKSUM.size:
                    return
                self.offset += _HEAD.size + len(body)
                payload = body[:length]
                if self._checksum(payload) == _CHECKSUM.unpack_from(body, length)[0]:
                    yield payload
                else:
                    self.damage.corrupt += 1

    @property
    def left(self) -> int:
        """Bytes behind :attr:`offset`: of a record that is cut off."""
        return self._file.seek(0, 2) - self.offset

    def _step_over(self, length: int) -> bool:
        size = _HEAD.size + length + _CHECKSUM.size
        if self.left < size:
            return False
        self.damage.oversized += 1
        self.offset += size
        self._file.seek(self.offset)
        return True

    def _find_head(self) -> None:
        """Move on to the next place where a record begins, or to the end of the file (less what may be half a head)."""
        position = self.offset + 1
        while True:
            self._file.seek(position)
            chunk = self._file.read(_CHUNK)
            for begin in _candidates(chunk):
                length, checksum = _HEAD.unpack_from(chunk, begin)
                if length <= MAX_RECORD and self._checksum(chunk[begin : begin + 8]) == checksum:
                    self.offset = position + begin
                    self._file.seek(self.offset)
                    return
            if len(chunk) < _CHUNK:
                self.offset = max(self.offset + 1, position + len(chunk) - _HEAD.size + 1)
                self._file.seek(self.offset)
                return
            position += len(chunk) - _HEAD.size + 1


def _candidates(chunk: bytes) -> Iterator[int]:
    """Places in ``chunk`` where a whole head may stand; what a file system filled with zeros is none."""
    empty = bytes(_HEAD.size)
    found = chunk.find(_HIGH_ZEROS, 4)
    while 0 <= found <= len(chunk) - 8:
        begin = found - 4
        if chunk[begin : begin + _HEAD.size] != empty:
            yield begin
        found = chunk.find(_HIGH_ZEROS, found + 1)
