"""The folding process as the server sees it."""

from __future__ import annotations

from collections.abc import Sequence

from headway.domain.runs import Stream
from headway.errors import UnavailableError
from headway.server.folding.asking import Child
from headway.server.folding.messages import (
    Answer,
    DeleteRequest,
    FoldRequest,
    FoldResult,
    ForgetRequest,
    Setup,
    SummariesRequest,
)


class FoldingChild(Child[Answer]):
    """See :class:`headway.server.folding.asking.Child`."""

    module = "headway.server.folding"
    noun = "folding"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup, Answer)

    def fold(self, stream: Stream) -> FoldResult:
        """See :class:`headway.server.folding.messages.FoldRequest`."""
        found = self.ask(FoldRequest(stream=stream)).fold
        if found is None:
            raise UnavailableError("The folding process gave an answer to something else.")
        return found

    def summaries(self, run_id: str, streams: tuple[Stream, ...]) -> Answer:
        """See :class:`headway.server.folding.messages.SummariesRequest`."""
        return self.ask(SummariesRequest(run_id=run_id, streams=streams))

    def delete(self, run_id: str) -> None:
        """See :class:`headway.server.folding.messages.DeleteRequest`."""
        self.ask(DeleteRequest(run_id=run_id))

    def forget(self, run_id: str, names: Sequence[str]) -> None:
        """See :class:`headway.server.folding.messages.ForgetRequest`."""
        self.ask(ForgetRequest(run_id=run_id, names=tuple(names)))
