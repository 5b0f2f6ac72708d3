"""Arrays of 64-bit numbers as few bytes, bit for bit. docs/internals/series.md, section 3, describes the format.

The first byte says how the rest is to be read, the next four how many numbers there are:

====  ======================================================================================================
byte  rest
====  ======================================================================================================
0     nothing: no numbers
1     one number of 8 bytes: all are this
2     first number and stride, 8 bytes each: a sequence of equal steps (int64, wrapping)
3     smallest number (8 bytes), width (1 byte), body: unsigned distances from it
4     first number and smallest difference (8 bytes each), width, body: distances of the differences from it
5     body of float32: each float64 is exactly one
6     body of 8-byte numbers as they are
7     smallest number, width, decimal places (1 byte each), body: as 3, of float64 times a power of ten
====  ======================================================================================================

A body is one zstd frame with a checksum; in it the numbers' first (lowest) bytes stand together, then the second ones,
and so on. Everything is little-endian.
"""

from __future__ import annotations

import struct
import threading
from typing import Any, TypeAlias

import numpy as np
import zstandard
from numpy.typing import NDArray

from headway.errors import CorruptDataError

Bits: TypeAlias = NDArray[np.uint64]
"""The 8 bytes of each number, whatever they mean."""
Integers: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

EMPTY, CONSTANT, REGULAR, OFFSETS, DELTAS, FLOAT32, PLAIN, DECIMAL = range(8)
LEVEL = 1
DECIMAL_PLACES = (1, 2, 3, 4, 5, 6)
_SAMPLE = 64
_HEAD = struct.Struct("<BI")
_LONGEST = 1 << 24
"""Numbers in one array at most: what a damaged count may not exceed."""
_WIDTHS = (1, 2, 4, 8)

_local = threading.local()


def pack_integers(numbers: Integers) -> bytes:
    """Integers, best when they grow steadily or lie close together."""
    count = len(numbers)
    if count == 0:
        return _HEAD.pack(EMPTY, 0)
    if count == 1:
        return _HEAD.pack(CONSTANT, 1) + numbers.astype("<i8").tobytes()
    # Differences may wrap; sums wrap back to the very same numbers.
    differences = numbers[1:] - numbers[:-1]
    smallest, largest = int(differences.min()), int(differences.max())
    if smallest == largest:
        mode, second = (CONSTANT, b"") if smallest == 0 else (REGULAR, _number(smallest))
        return _HEAD.pack(mode, count) + _number(int(numbers[0])) + second
    low, high = int(numbers.min()), int(numbers.max())
    step_width, width = _width(largest - smallest), _width(high - low)
    if step_width < width or (step_width == width == 8):
        head = _HEAD.pack(DELTAS, count) + _number(int(numbers[0])) + _number(smallest)
        return head + _distances(differences, smallest, step_width)
    return _HEAD.pack(OFFSETS, count) + _number(low) + _distances(numbers, low, width)


def pack_floats(bits: Bits) -> bytes:
    """float64 numbers, given as their bits."""
    count = len(bits)
    if count == 0:
        return _HEAD.pack(EMPTY, 0)
    if not (bits != bits[0]).any():
        return _HEAD.pack(CONSTANT, count) + bits[:1].astype("<u8").tobytes()
    numbers = bits.view(np.float64)
    short = _as_float32(numbers, bits)
    if short is not None:
        return _HEAD.pack(FLOAT32, count) + _body(short.view(np.uint8), 4)
    decimal = _as_decimal(numbers, bits)
    if decimal is not None:
        return decimal
    return _HEAD.pack(PLAIN, count) + _body(bits.view(np.uint8), 8)


def unpack(data: bytes) -> Bits:
    """The numbers that were packed, as their bits.

    Raises:
        CorruptDataError: The bytes are damaged, or of a newer version.
    """
    try:
        mode, count = _HEAD.unpack_from(data)
        if count > _LONGEST:
            raise CorruptDataError(f"A chunk claims to hold {count} numbers.")
        found = _unpack(mode, count, data, _HEAD.size)
    except (struct.error, zstandard.ZstdError, ValueError, IndexError) as error:
        raise CorruptDataError(f"A chunk of metrics cannot be read: {error}.") from error
    if len(found) != count:
        raise CorruptDataError(f"A chunk of metrics holds {len(found)} numbers instead of {count}.")
    return found


def unpack_at(data: bytes, rows: Integers) -> Bits:
    """Those numbers that stand at ``rows``; cheap where they can be computed one by one. Errors as :func:`unpack`."""
    if len(data) < _HEAD.size + 16 or data[0] != REGULAR:
        return unpack(data)[rows]
    first, stride = np.frombuffer(data, "<u8", 2, _HEAD.size)
    if len(rows) and not 0 <= rows.min() <= rows.max() < _HEAD.unpack_from(data)[1]:
        raise CorruptDataError("A chunk of metrics holds fewer numbers than its statistics say.")
    found: Bits = rows.view(np.uint64) * stride + first
    return found


def _unpack(mode: int, count: int, data: bytes, at: int) -> Bits:
    if mode == EMPTY:
        return np.empty(0, np.uint64)
    if mode == CONSTANT:
        return np.full(count, np.frombuffer(data, "<u8", 1, at)[0], np.uint64)
    if mode == REGULAR:
        first, stride = np.frombuffer(data, "<u8", 2, at)
        regular: Bits = np.arange(count, dtype=np.uint64) * stride + first
        return regular
    if mode == OFFSETS:
        near: Bits = _near(data, at + 8, count) + np.frombuffer(data, "<u8", 1, at)[0]
        return near
    if mode == DELTAS:
        first, smallest = np.frombuffer(data, "<u8", 2, at)
        steps = np.empty(count, np.uint64)
        steps[0] = first
        np.add(_near(data, at + 16, count - 1), smallest, out=steps[1:])
        return np.cumsum(steps, out=steps)
    if mode == FLOAT32:
        return _plain(data, at, count, 4).view(np.float32).astype(np.float64).view(np.uint64)
    if mode == PLAIN:
        return _plain(data, at, count, 8).view(np.uint64)
    if mode == DECIMAL:
        low, places = np.frombuffer(data, "<u8", 1, at)[0], data[at + 8]
        whole = (_near(data, at + 9, count) + low).view(np.int64).astype(np.float64)
        numbers: Floats = whole / float(10**places)
        return numbers.view(np.uint64)
    raise CorruptDataError(f"A chunk of metrics is written in the way {mode}, which this Headway does not know.")


def _as_float32(numbers: Floats, bits: Bits) -> NDArray[np.float32] | None:
    """The same numbers in half the bytes, where every one of them is exactly a float32."""
    if not _is_float32(numbers[:_SAMPLE], bits[:_SAMPLE]):
        return None
    return numbers.astype(np.float32) if _is_float32(numbers, bits) else None


def _is_float32(numbers: Floats, bits: Bits) -> bool:
    with np.errstate(all="ignore"):
        back = numbers.astype(np.float32).astype(np.float64)
    return not (back.view(np.uint64) != bits).any()


def _as_decimal(numbers: Floats, bits: Bits) -> bytes | None:
    """Numbers that people would write with a few decimal places, as integers; None where that is not exact."""
    for places in (0, *DECIMAL_PLACES):
        scale = float(10**places)
        if not _is_decimal(numbers[:_SAMPLE], bits[:_SAMPLE], scale):
            continue
        if not _is_decimal(numbers, bits, scale):
            continue
        whole = np.rint(numbers * scale).astype(np.int64)
        low, high = int(whole.min()), int(whole.max())
        width = _width(high - low)
        if width == 8:
            return None
        head = _HEAD.pack(DECIMAL, len(numbers)) + _number(low) + bytes([places])
        return head + _distances(whole, low, width)
    return None


def _is_decimal(numbers: Floats, bits: Bits, scale: float) -> bool:
    with np.errstate(all="ignore"):
        scaled = np.rint(numbers * scale)
        if not (np.abs(scaled) < float(1 << 52)).all():
            return False
        # Adding zero turns -0.0 into 0.0, which then differs in its bits and is not taken.
        back = (scaled + 0.0) / scale
    return not (back.view(np.uint64) != bits).any()


def _distances(numbers: Integers, base: int, width: int) -> bytes:
    away = numbers.view(np.uint64) - np.uint64(base & 0xFFFF_FFFF_FFFF_FFFF)
    return bytes([width]) + _body(away.astype(f"<u{width}").view(np.uint8), width)


def _near(data: bytes, at: int, count: int) -> Bits:
    width = data[at]
    if width not in _WIDTHS:
        raise ValueError(f"no number has {width} bytes")
    return _plain(data, at + 1, count, width).view(f"<u{width}").astype(np.uint64)


def _body(octets: NDArray[np.uint8], width: int) -> bytes:
    shuffled = octets if width == 1 else np.ascontiguousarray(octets.reshape(-1, width).T)
    packed: bytes = _compressor().compress(shuffled.data)
    return packed


def _plain(data: bytes, at: int, count: int, width: int) -> NDArray[np.uint8]:
    frame = memoryview(data)[at:]
    if zstandard.frame_content_size(frame) != count * width:
        raise ValueError(f"its body is not one of {count * width} bytes")
    raw = _decompressor().decompress(frame, max_output_size=count * width)
    octets = np.frombuffer(raw, np.uint8)
    if width == 1:
        return octets
    # Much faster than a transposed copy.
    found = np.empty((count, width), np.uint8)
    for place in range(width):
        found[:, place] = octets[place * count : (place + 1) * count]
    return found.reshape(-1)


def _width(span: int) -> int:
    return 1 if span < 1 << 8 else 2 if span < 1 << 16 else 4 if span < 1 << 32 else 8


def _number(value: int) -> bytes:
    return struct.pack("<Q", value & 0xFFFF_FFFF_FFFF_FFFF)


def _compressor() -> Any:
    found = getattr(_local, "compressor", None)
    if found is None:
        found = _local.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    return found


def _decompressor() -> Any:
    found = getattr(_local, "decompressor", None)
    if found is None:
        found = _local.decompressor = zstandard.ZstdDecompressor()
    return found
