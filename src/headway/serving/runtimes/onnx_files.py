"""Which other files an ONNX model keeps its weights in, read from the protocol buffer without loading it.

Sources: onnx.proto (field numbers), "External Data" of the ONNX documentation, "Encoding" of protocol buffers.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {13: "entry"},
}
"""Message to the fields in which a tensor can be."""
KEY, VALUE = 1, 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Buffer = bytes | mmap.mmap


def external_files(path: Path) -> list[str]:
    """The locations of all tensors whose data lies in other files, as they are written, sorted.

    Raises:
        ValueError: The file is no protocol buffer, or ends early.
    """
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return sorted(set(_locations(data)))


def _locations(data: Buffer) -> Iterator[str]:
    waiting = [("model", 0, len(data))]
    while waiting:
        message, start, end = waiting.pop()
        if message == "entry":
            entry = {number: data[first:last] for number, first, last in _fields(data, start, end)}
            if entry.get(KEY) == b"location":
                yield entry.get(VALUE, b"").decode()
            continue
        inside = INSIDE[message]
        waiting += [
            (inside[number], first, last) for number, first, last in _fields(data, start, end) if number in inside
        ]


def _fields(data: Buffer, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each field that has a length."""
    while position < end:
        tag, position = _varint(data, position, end)
        kind = tag & 7
        if kind == BYTES:
            length, position = _varint(data, position, end)
            if position + length > end:
                raise ValueError("the file ends in the middle of a field")
            yield tag >> 3, position, position + length
            position += length
        elif kind == VARINT:
            _, position = _varint(data, position, end)
        elif kind in (FIXED64, FIXED32):
            position += 8 if kind == FIXED64 else 4
        else:
            raise ValueError("the file is no protocol buffer")


def _varint(data: Buffer, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("the file ends in the middle of a number")
