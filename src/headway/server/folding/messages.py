"""What the server and its folding process say to each other: JSON lines, an answer for every request, in order."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from headway.domain.base import Record
from headway.domain.metrics import SeriesSummary
from headway.domain.runs import Stream
from headway.server.folding.asking import Setup
from headway.storage.series.base import StreamKey
from headway.storage.series.streams import key_of

__all__ = [
    "Answer",
    "DeleteRequest",
    "FoldRequest",
    "FoldResult",
    "FoldingRequest",
    "ForgetRequest",
    "Setup",
    "SummariesRequest",
]


class FoldRequest(Record):
    """Take the next bytes of a stream into the store, at most some megabytes."""

    do: Literal["fold"] = "fold"
    stream: Stream

    @property
    def key(self) -> StreamKey:
        return key_of(self.stream)


class SummariesRequest(Record):
    """What the series of a run come to, as far as they are folded."""

    do: Literal["summaries"] = "summaries"
    run_id: str
    streams: tuple[Stream, ...]


class DeleteRequest(Record):
    """Remove everything of a run."""

    do: Literal["delete"] = "delete"
    run_id: str


class ForgetRequest(Record):
    """Remove everything of some streams of a run."""

    do: Literal["forget"] = "forget"
    run_id: str
    names: tuple[str, ...]


FoldingRequest = Annotated[FoldRequest | SummariesRequest | DeleteRequest | ForgetRequest, Field(discriminator="do")]


class FoldResult(Record):
    """How far a stream is folded now, and what was wrong with it so far."""

    folded: int
    points: int = 0
    report: dict[str, int] = {}


class Answer(Record):
    """``error`` is a problem document."""

    error: dict[str, Any] | None = None
    fold: FoldResult | None = None
    summaries: tuple[SeriesSummary, ...] = ()
