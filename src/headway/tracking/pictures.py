"""Pictures as bytes: writing PNG, and telling from the first bytes of a file what it is and how large.

PNG is written after W3C PNG (third edition), sections 7 to 11; the other formats are read after their specifications:
GIF89a, JPEG (ITU-T T.81, annex B), WebP (RFC 9649).
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

from headway.tracking.arrays import numpy_for

HEAD_BYTES = 1 << 20
"""How much of a file :func:`look` needs at most: a JPEG may begin with a long preview."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Channels to PNG's number: grey, grey with alpha, RGB, RGBA."""
_UP = 2
_LEVEL = 4


class Picture(NamedTuple):
    """What a file is."""

    media_type: str
    width: int
    height: int


def encode_png(pixels: Any) -> bytes:
    """A PNG file of ``pixels``, uint8 of shape (height, width, channels) with 1 to 4 channels."""
    numpy = numpy_for("An image")
    height, width, channels = pixels.shape
    rows = numpy.ascontiguousarray(pixels).reshape(height, width * channels)
    # Each row as its difference to the one above (modulo 256), which photographs and plots compress well with.
    filtered = numpy.empty((height, width * channels + 1), numpy.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    numpy.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    data = zlib.compress(filtered.tobytes(), _LEVEL)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def look(head: bytes) -> Picture | None:
    """What a file that begins with ``head`` is; None when it is no PNG, JPEG, GIF or WebP."""
    try:
        if head.startswith(_SIGNATURE) and head[12:16] == b"IHDR":
            return Picture("image/png", *struct.unpack_from(">II", head, 16))
        if head.startswith((b"GIF87a", b"GIF89a")):
            return Picture("image/gif", *struct.unpack_from("<HH", head, 6))
        if head.startswith(b"\xff\xd8\xff"):
            return _look_at_jpeg(head)
        if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            return _look_at_webp(head)
    except (struct.error, IndexError):
        pass  # cut off within its header
    return None


def _look_at_jpeg(head: bytes) -> Picture | None:
    position = 2
    while head[position] == 0xFF:
        marker = head[position + 1]
        if marker == 0xFF:
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", head, position + 5)
            return Picture("image/jpeg", width, height)
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
        else:
            position += 2 + struct.unpack_from(">H", head, position + 2)[0]
    return None


def _look_at_webp(head: bytes) -> Picture | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return Picture("image/webp", _three(head, 24) + 1, _three(head, 27) + 1)
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = struct.unpack_from("<I", head, 21)[0]
        return Picture("image/webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return Picture("image/webp", width & 0x3FFF, height & 0x3FFF)
    return None


def _three(head: bytes, position: int) -> int:
    found = head[position : position + 3]
    if len(found) < 3:
        raise IndexError(position)
    return int.from_bytes(found, "little")
