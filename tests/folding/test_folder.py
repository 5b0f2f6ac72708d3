"""Folding a stream step by step: damage, gaps, rubbish, and states that somebody else moved on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headway.domain.runs import Stream
from headway.journal.frames import MAGIC
from headway.server.folding import folder as module
from headway.server.folding.folder import Folder
from headway.storage.segments.files import FileSegments
from headway.storage.series.sqlite import SqliteSeries
from headway.storage.series.streams import key_of
from headway.testing.series import StreamWriter, many_rows, read_series, schema_frame


@pytest.fixture
def series(data: Path) -> Iterator[SqliteSeries]:
    series = SqliteSeries(data / "series.db")
    yield series
    series.close()


def shipped(segments: FileSegments, stream: Stream, data: bytes, *, closed: bool = False) -> Stream:
    """``data`` is all that the stream holds now."""
    segments.write(stream.run_id, stream.name, stream.committed, data[stream.committed :])
    return stream.evolve(committed=len(data), closed=closed)


def fold_whole(folder: Folder, stream: Stream) -> tuple[int, dict[str, int]]:
    """Fold until nothing more can be; where that is, and what was wrong."""
    at = -1
    while True:
        result = folder.fold(stream)
        if result.folded == at:
            return at, result.report
        at = result.folded


def writer_of(rows: int) -> StreamWriter:
    writer = StreamWriter()
    for step in range(rows):
        writer.log({"loss": 1 / (step + 1)}, step=step)
    return writer


def test_a_stream_is_folded_as_it_grows(series: SqliteSeries, segments: FileSegments, stream: Stream) -> None:
    folder, writer = Folder(series, segments), StreamWriter()
    for step in range(30):
        writer.log({"loss": step / 7}, step=step)
        # Now and then a frame has arrived only in part.
        stream = shipped(segments, stream, writer.data[: len(writer.data) - step % 3 * 5])
        fold_whole(folder, stream)
    stream = shipped(segments, stream, writer.data, closed=True)
    assert fold_whole(folder, stream) == (len(writer.data), {})
    assert read_series(series, [key_of(stream)], ("", "loss")) == [writer.points["", "loss"]]


def test_a_torn_end_is_folded_away_once_the_stream_is_closed(
    series: SqliteSeries, segments: FileSegments, stream: Stream
) -> None:
    folder, writer = Folder(series, segments), writer_of(5)
    stream = shipped(segments, stream, writer.data + b"\x30\x00\x00\x00half a frame")
    assert fold_whole(folder, stream) == (len(writer.data), {})
    stream = stream.evolve(closed=True)
    assert fold_whole(folder, stream) == (stream.committed, {"damaged": 16, "stretches": 1})
    assert read_series(series, [key_of(stream)], ("", "loss")) == [writer.points["", "loss"]]


def test_a_stretch_of_damage_longer_than_a_batch_does_not_stop_it(
    series: SqliteSeries, segments: FileSegments, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 2000)
    writer = writer_of(20)
    cut = len(writer.data)
    for step in range(20, 40):
        writer.log({"loss": 1 / (step + 1)}, step=step)
    rubbish = random.Random(3).randbytes(30_000)
    stream = shipped(segments, stream, writer.data[:cut] + rubbish + writer.data[cut:], closed=True)
    folded, report = fold_whole(Folder(series, segments), stream)
    assert (folded, report) == (stream.committed, {"damaged": len(rubbish), "stretches": 1})
    assert read_series(series, [key_of(stream)], ("", "loss")) == [writer.points["", "loss"]]


def test_rubbish_without_end_is_passed_over_at_bounded_memory(
    series: SqliteSeries, segments: FileSegments, stream: Stream
) -> None:
    writer = writer_of(5)
    rubbish = random.Random(4).randbytes(1 << 20) * 60
    stream = shipped(segments, stream, writer.data + rubbish)
    folded, report = fold_whole(Folder(series, segments), stream)
    assert folded > 40 << 20
    assert report["damaged"] > 40 << 20
    stream = shipped(segments, stream, writer.data + rubbish + writer.data[len(MAGIC) :])
    fold_whole(Folder(series, segments), stream)
    assert read_series(series, [key_of(stream)], ("", "loss")) == [writer.points["", "loss"]]


def test_bytes_that_were_given_back_before_they_were_folded_are_counted(
    series: SqliteSeries, segments: FileSegments, stream: Stream
) -> None:
    """A store that was put back from a backup: what lies between is gone, and folding goes on behind it."""
    writer = writer_of(5)
    cut = len(writer.data)
    stream = shipped(segments, stream, writer.data)
    segments.drop(stream.run_id, stream.name, cut)
    for step in range(5, 10):
        writer.log({"loss": 1 / (step + 1)}, step=step)
    stream = shipped(segments, stream, writer.data)
    folded, report = fold_whole(Folder(series, segments), stream)
    assert folded == len(writer.data)
    # The schema lay in what is gone, so the rows behind it cannot be read either; all of it is said.
    assert report == {"lost": cut, "unreadable": 5}


def test_a_state_that_another_process_moved_on_is_looked_up_again(
    series: SqliteSeries, segments: FileSegments, stream: Stream
) -> None:
    first, second, writer = Folder(series, segments), Folder(series, segments), StreamWriter()
    for step in range(20):
        writer.log({"loss": float(step)}, step=step)
        stream = shipped(segments, stream, writer.data)
        for folder in (first, second) if step % 2 else (second, first):
            fold_whole(folder, stream)
    assert read_series(series, [key_of(stream)], ("", "loss")) == [writer.points["", "loss"]]


def test_large_streams_go_in_batches_of_full_blocks(
    series: SqliteSeries, segments: FileSegments, stream: Stream
) -> None:
    rows = 250_000
    values = np.random.default_rng(0).standard_normal(rows)
    data = MAGIC + schema_frame(1, [("loss", "f")]) + many_rows(1, [values], step=np.arange(rows))
    stream = shipped(segments, stream, data)
    assert fold_whole(Folder(series, segments), stream) == (len(data), {})
    with series.read() as snapshot:
        (column,) = snapshot.columns("run1")
        sizes = [block.rows for block in snapshot.blocks(column.schema_id)]
    assert sizes[:3] == [65_536] * 3
    assert sum(sizes) == rows
    (points,) = read_series(series, [key_of(stream)], ("", "loss"))
    assert [point.bits[1] for point in points] == [value.tobytes() for value in values]
