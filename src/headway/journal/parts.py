"""Schemas made ready for writing: what a call's values are packed with."""

from __future__ import annotations

import struct
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from headway.journal.frames import KIND_ROW, KIND_SCHEMA, PAYLOAD_LIMIT, encode_frame
from headway.journal.rows import FLOAT, ROW_HEAD, Schema, value_formats

RESTATED_AFTER = 1 << 20
"""Bytes of rows after which a schema is said again, so that a damaged one takes only so much with it."""
ROW_COLUMNS = (PAYLOAD_LIMIT - ROW_HEAD.size) // 8

_HEAD = "<5sQqBqd"
"""The kind and the schema's id, and then as :data:`ROW_HEAD`: what a row's checksum covers."""

Recent = tuple[object, int, Callable[[Any], tuple[Any, ...]], list[type], Callable[..., bytes], bytes, int]
"""What :meth:`MetricsWriter.log` compares a call with: stage, number of columns, how to get the values in order, their
types; and how to write it: pack, head, size."""


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """From a dict to its values in the order of ``names``; KeyError when one is missing."""
    if len(names) == 1:
        (name,) = names
        return lambda metrics: (metrics[name],)
    return itemgetter(*names)


class Part:
    """Some columns that make one row: all of a call's, unless they are too many for a frame."""

    __slots__ = ("columns", "frame", "head", "pack", "recent", "size", "stated_at")

    def __init__(self, schema: Schema, payload: bytes, columns: slice) -> None:
        packed = struct.Struct(_HEAD + value_formats(schema.types))
        self.columns = columns
        self.frame = encode_frame(KIND_SCHEMA, payload)
        self.head = bytes([KIND_ROW]) + schema.id.to_bytes(4, "little")
        self.pack: Callable[..., bytes] = packed.pack
        self.size = packed.size
        self.stated_at = -1
        """Where in the file the schema stands; -1 before that."""
        types: list[type] = [float if letter == FLOAT else int for letter in schema.types]
        self.recent: Recent = (schema.stage, len(types), _getter(schema.names), types, self.pack, self.head, self.size)

    def is_stated(self, position: int) -> bool:
        """Whether a row at ``position`` may rely on the schema that is in the file."""
        return self.stated_at >= 0 and position - self.stated_at <= max(RESTATED_AFTER, 16 * len(self.frame))
