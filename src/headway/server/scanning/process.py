"""The scanning process: reads requests from its standard input until that ends."""

from __future__ import annotations

import base64
import os
import sys
import traceback
from functools import partial
from typing import BinaryIO

from headway.errors import HeadwayError, InternalError
from headway.monitors import compile_expression
from headway.monitors.reading import step
from headway.monitors.rows import encode_points
from headway.server.folding.asking import Setup
from headway.server.scanning.messages import ScanAnswer, ScanRequest, ScanResult
from headway.storage.segments.base import SegmentStore
from headway.storage.segments.opening import open_stream_bytes

NICENESS = 5
"""As folding: the API waits for neither."""


def main() -> None:
    """Serve one server until it closes the pipe, or ends."""
    os.nice(NICENESS)
    os.umask(0o077)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    first = requests.readline()
    if not first:
        return
    setup = Setup.model_validate_json(first)
    try:
        segments = open_stream_bytes(setup.database_url, setup.data)
    except HeadwayError as error:
        _say(answers, ScanAnswer(error=error.to_problem()))
        sys.exit(1)
    _say(answers, ScanAnswer())
    for line in requests:
        if not line.endswith(b"\n"):
            return  # the server ended within a line
        _say(answers, _answer(line, segments))


def scan(request: ScanRequest, segments: SegmentStore) -> ScanResult:
    """One step through the request's log stream."""
    stream = request.stream
    found = step(
        compile_expression(request.regex),
        partial(segments.read, stream.run_id, stream.name),
        stream.committed,
        request.place,
        closed=stream.closed,
    )
    rows = encode_points(found.rows, request.points)
    return ScanResult(
        place=found.place,
        lines=found.lines,
        matches=found.matches,
        points=len(found.rows),
        rows=base64.b64encode(rows).decode(),
        last_match=None if found.newest is None else found.newest.text,
        last_time=0 if found.newest is None else found.newest.time_ms,
        done=found.done,
    )


def _answer(line: bytes, segments: SegmentStore) -> ScanAnswer:
    try:
        return ScanAnswer(scan=scan(ScanRequest.model_validate_json(line), segments))
    except HeadwayError as error:
        return ScanAnswer(error=error.to_problem())
    except Exception:  # noqa: BLE001 - one stream that cannot be read must not stop the others
        traceback.print_exc()
        return ScanAnswer(error=InternalError("A monitor failed; the server's output has the reason.").to_problem())


def _say(answers: BinaryIO, answer: ScanAnswer) -> None:
    try:
        answers.write(answer.model_dump_json().encode() + b"\n")
        answers.flush()
    except BrokenPipeError:
        # The server ended; what was found is found again.
        os._exit(0)
