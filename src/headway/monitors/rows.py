"""Points as the frames of a metrics stream (docs/internals/tracking.md, section 2)."""

from __future__ import annotations

from collections.abc import Iterable

from headway.journal.codec import KIND_END, KIND_HEADER, MAGIC, JournalHeader, encode_frame, encode_header
from headway.journal.frames import KIND_ROW, KIND_SCHEMA
from headway.journal.rows import FLOAT, Row, Schema, encode_row, encode_schema
from headway.monitors.reading import PointRow

SCHEMA_ID = 0
LATEST_MS = ((1 << 63) - 1) // 1_000_000
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
    """Frames of ``rows``; ``sequence`` is the number of the last row before them."""
    schema = Schema(SCHEMA_ID, None, ("",), FLOAT)
    frames = []
    for number, (time_ms, point) in enumerate(rows, sequence + 1):
        time_ns = min(time_ms, LATEST_MS) * 1_000_000
        row = Row(number, time_ns, point.step, None, None, schema.names, (point.value,))
        frames.append(encode_frame(KIND_ROW, encode_row(schema, row)))
    return b"".join(frames)
