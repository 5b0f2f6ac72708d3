"""The folding process: reads requests from its standard input until that ends."""

from __future__ import annotations

import os
import sys
import traceback
from typing import BinaryIO

from pydantic import TypeAdapter

from headway.errors import HeadwayError, InternalError
from headway.server.folding.folder import Folder
from headway.server.folding.messages import (
    Answer,
    DeleteRequest,
    FoldingRequest,
    FoldRequest,
    ForgetRequest,
    Setup,
    SummariesRequest,
)
from headway.storage.series.base import SeriesWriter
from headway.storage.series.opening import open_writer
from headway.storage.series.streams import key_of
from headway.storage.series.summaries import summarise

NICENESS = 5
"""Folding waits for the API, never the other way round."""

_requests: TypeAdapter[FoldingRequest] = TypeAdapter(FoldingRequest)


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
        series, segments = open_writer(setup.database_url, setup.data)
    except HeadwayError as error:
        _say(answers, Answer(error=error.to_problem()))
        sys.exit(1)
    try:
        _say(answers, Answer())
        _serve(requests, answers, series, Folder(series, segments))
    finally:
        series.close()


def _serve(requests: BinaryIO, answers: BinaryIO, series: SeriesWriter, folder: Folder) -> None:
    for line in requests:
        if not line.endswith(b"\n"):
            return  # the server ended within a line
        try:
            answer = _answer(_requests.validate_json(line), series, folder)
        except HeadwayError as error:
            answer = Answer(error=error.to_problem())
        except Exception:  # noqa: BLE001 - one stream that cannot be folded must not stop the others
            traceback.print_exc()
            answer = Answer(error=InternalError("Folding failed; the server's output has the reason.").to_problem())
        _say(answers, answer)


def _answer(
    request: FoldRequest | SummariesRequest | DeleteRequest | ForgetRequest, series: SeriesWriter, folder: Folder
) -> Answer:
    if isinstance(request, FoldRequest):
        return Answer(fold=folder.fold(request.stream))
    if isinstance(request, DeleteRequest):
        series.delete_run(request.run_id)
        return Answer()
    if isinstance(request, ForgetRequest):
        series.delete_streams(request.run_id, request.names)
        return Answer()
    with series.read() as snapshot:
        found = summarise(snapshot, request.run_id, [key_of(stream) for stream in request.streams], {})
    return Answer(summaries=tuple(found))


def _say(answers: BinaryIO, answer: Answer) -> None:
    try:
        answers.write(answer.model_dump_json().encode() + b"\n")
        answers.flush()
    except BrokenPipeError:
        # The server ended; what was folded is kept.
        os._exit(0)
