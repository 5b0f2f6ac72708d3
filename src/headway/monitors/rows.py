"""Points as the frames of a metrics stream (docs/internals/tracking.md, section 2)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from zlib import crc32

from headway.journal.codec import KIND_END, KIND_HEADER, MAGIC, JournalHeader, encode_frame, encode_header
from headway.journal.frames import KIND_ROW, KIND_SCHEMA
from headway.journal.rows import FLOAT, HAS_STEP, Schema, encode_schema
from headway.monitors.reading import PointRow

SCHEMA_ID = 0
LATEST_MS = ((1 << 63) - 1) // 1_000_000
_PREFIX = struct.Struct("<II").pack
_BODY = struct.Struct("<BIQqBqdd").pack
"""Kind, the head of a row (headway.journal.rows), and one value."""
END = encode_frame(KIND_END, b"")
"""What the stream of points ends with once its log stream has ended."""


def beginning(header: JournalHeader, name: str) -> bytes:
    """What the stream begins with, before the rows of :func:`encode_points`.

    Args:
        header: Whose stream it is.
        name: Of the series.
    """
    schema = encode_schema(Schema(SCHEMA_ID, None, (name,), FLOAT))
    return MAGIC + encode_frame(KIND_HEADER, encode_header(header)) + encode_frame(KIND_SCHEMA, schema)


def encode_points(rows: Iterable[PointRow], sequence: int) -> bytes:
    """Frames of ``rows``; ``sequence`` is the number of the last row before them. As :func:`encode_row` and
    :func:`encode_frame` give them, in fewer steps: a log may hold millions.
    """
    frames = []
    for number, (time_ms, (value, step)) in enumerate(rows, sequence + 1):
        time_ns = min(time_ms, LATEST_MS) * 1_000_000
        if step is None:
            body = _BODY(KIND_ROW, SCHEMA_ID, number, time_ns, 0, 0, 0.0, value)
        else:
            body = _BODY(KIND_ROW, SCHEMA_ID, number, time_ns, HAS_STEP, step, 0.0, value)
        frames.append(_PREFIX(len(body), crc32(body)) + body)
    return b"".join(frames)
