"""A data directory with stream bytes, and the folding process over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headway.domain.base import now
from headway.domain.runs import Stream
from headway.server.folding.child import FoldingChild
from headway.server.folding.messages import Setup
from headway.storage.segments.files import FileSegments


@pytest.fixture
def data(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    place.mkdir(mode=0o700)
    return place


@pytest.fixture
def segments(data: Path) -> FileSegments:
    return FileSegments(data / "segments")


@pytest.fixture
def children(data: Path) -> Iterator[Callable[[], FoldingChild]]:
    """Makes folding processes over ``data``, and ends them."""
    made: list[FoldingChild] = []

    def start() -> FoldingChild:
        made.append(FoldingChild(Setup(database_url=None, data=data)))
        return made[-1]

    yield start
    for child in made:
        child.close()


@pytest.fixture
def stream() -> Stream:
    """The record of an empty stream."""
    moment = now()
    return Stream(
        run_id="run1",
        name="metrics/rank0-a",
        writer_id="a",
        replica="rank0",
        created_at=moment,
        updated_at=moment,
    )
