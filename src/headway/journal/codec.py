"""What frames hold: the header record and log batches; and, by re-export, all that is public of the journal's format."""

from __future__ import annotations

import struct
from typing import NamedTuple

from pydantic import ValidationError

from headway.domain.base import Record, Timestamp
from headway.errors import CorruptDataError
from headway.journal.decoding import Damage, FrameDecoder, Scan, scan
from headway.journal.frames import (
    FRAME_LIMIT,
    KIND_END,
    KIND_HEADER,
    KIND_LOG,
    MAGIC,
    PAYLOAD_LIMIT,
    Frame,
    encode_frame,
)

__all__ = [
    "FRAME_LIMIT",
    "KIND_END",
    "KIND_HEADER",
    "KIND_LOG",
    "LINES_LIMIT",
    "MAGIC",
    "PAYLOAD_LIMIT",
    "Damage",
    "Frame",
    "FrameDecoder",
    "JournalHeader",
    "LogBatch",
    "Scan",
    "decode_header",
    "decode_lines",
    "encode_frame",
    "encode_header",
    "encode_lines",
    "scan",
]

_BATCH = struct.Struct("<QQB")
"""Number of the first line, milliseconds since 1970, flags."""
_STDERR, _SPLIT = 1, 2
LINES_LIMIT = PAYLOAD_LIMIT - _BATCH.size
"""Bytes of lines that fit into one log batch."""


class JournalHeader(Record):
    """Whose stream this file is. ``writer`` is new at every open, so that an offset never means two things."""

    run: str
    stream: str
    writer: str
    attempt: int = 0
    replica: str | None = None
    created: Timestamp


def encode_header(header: JournalHeader) -> bytes:
    """The payload of a :data:`KIND_HEADER` frame: compact JSON."""
    return header.model_dump_json().encode()


def decode_header(payload: bytes) -> JournalHeader:
    """The record in a :data:`KIND_HEADER` frame; CorruptDataError when it is none."""
    try:
        return JournalHeader.model_validate_json(payload)
    except ValidationError as error:
        raise CorruptDataError(
            f"The journal's header is not readable: {error.error_count()} fields are wrong."
        ) from error


class LogBatch(NamedTuple):
    """Consecutive lines that were read at one moment.

    ``lines`` joins them by a newline, without the last newline; ``stderr`` is None when both outputs shared one pipe.
    """

    first_line: int
    time_ms: int
    stderr: bool | None
    lines: bytes

    @property
    def line_count(self) -> int:
        """One at least."""
        return self.lines.count(b"\n") + 1


def encode_lines(first_line: int, time_ms: int, lines: bytes, *, stderr: bool = False, split: bool = False) -> bytes:
    """The payload of a :data:`KIND_LOG` frame.

    Args:
        first_line: The number of the first line; the replica's first line is 1.
        time_ms: Milliseconds since 1970 (UTC), for all of them.
        lines: The lines, joined by a newline, without the last newline.
        stderr: They came from stderr; means something only with ``split``.
        split: The outputs had a pipe each.
    """
    return _BATCH.pack(first_line, time_ms, _STDERR * stderr | _SPLIT * split) + lines


def decode_lines(payload: bytes) -> LogBatch:
    """The batch in a :data:`KIND_LOG` frame; CorruptDataError when the payload is too short to be one."""
    if len(payload) < _BATCH.size:
        raise CorruptDataError(f"A log batch has at least {_BATCH.size} bytes, not {len(payload)}.")
    first_line, time_ms, flags = _BATCH.unpack_from(payload)
    return LogBatch(first_line, time_ms, bool(flags & _STDERR) if flags & _SPLIT else None, payload[_BATCH.size :])
