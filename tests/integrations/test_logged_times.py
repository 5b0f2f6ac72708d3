"""Points of the past: rows that say when they were measured."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from headway.errors import ConflictError, InvalidRequestError
from headway.journal.codec import JournalHeader
from headway.journal.metrics import MetricsWriter
from headway.journal.reader import read_frames
from headway.journal.rows import Row, RowDecoder
from headway.tracking.local import find_local


@pytest.fixture
def writer(tmp_path: Path) -> Any:
    header = JournalHeader(
        run="run", stream="metrics/rank0-w", writer="w", attempt=0, replica="rank0", created=datetime.now(timezone.utc)
    )
    with MetricsWriter(tmp_path / "metrics.hwj", header) as writer:
        yield writer


def rows(writer: MetricsWriter) -> list[Row]:
    return list(RowDecoder().feed(read_frames(writer.path)))


def test_a_row_keeps_the_time_that_it_was_given(writer) -> None:
    writer.log({"loss": 1.0}, 0)
    writer.log_at(1_700_000_000.25, {"loss": 0.5}, 1, stage="train", epoch=2)
    writer.log({"loss": 0.25}, 2)
    first, past, last = rows(writer)
    assert past.time_ns == 1_700_000_000_250_000_000
    assert (past.step, past.epoch) == (1, 2.0)
    assert first.time_ns > past.time_ns < last.time_ns
    assert first.time_ns <= last.time_ns


@pytest.mark.parametrize("time", [float("nan"), float("inf"), -1.0, 1e30, "now", None])
def test_a_time_that_is_none_is_refused_and_nothing_is_stored(writer, time) -> None:
    with pytest.raises(InvalidRequestError, match="time"):
        writer.log_at(time, {"loss": 1.0}, 1)
    assert rows(writer) == []


def test_a_run_keeps_the_times_that_it_was_given(tracked) -> None:
    tracked.log_at(1_700_000_000.25, {"loss": 0.5}, 1, type="train", epoch=2)
    tracked.log({"loss": 0.25}, 2, type="train")
    with pytest.raises(InvalidRequestError, match="time"):
        tracked.log_at(-1.0, {"loss": 0.5})
    tracked.finish()
    with pytest.raises(ConflictError, match="finished"):
        tracked.log_at(1.0, {"loss": 0.5})
    found = find_local(str(tracked.directory)).metrics("loss", "train")
    assert (found.steps, found.values, found.epochs) == ([1, 2], [0.5, 0.25], [2.0, None])
    assert found.times[0] == 1_700_000_000_250 < found.times[1]
