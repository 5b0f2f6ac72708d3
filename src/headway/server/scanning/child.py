"""The scanning process as the server sees it."""

from __future__ import annotations

from headway.domain.runs import Stream
from headway.errors import UnavailableError
from headway.server.folding.asking import Child, Setup
from headway.server.scanning.messages import Place, ScanAnswer, ScanRequest, ScanResult


class ScanningChild(Child[ScanAnswer]):
    """See :class:`headway.server.folding.asking.Child`."""

    module = "headway.server.scanning"
    noun = "scanning"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup, ScanAnswer)

    def scan(self, stream: Stream, regex: str, place: Place, points: int) -> ScanResult:
        """See :class:`headway.server.scanning.messages.ScanRequest`."""
        found = self.ask(ScanRequest(stream=stream, regex=regex, place=place, points=points)).scan
        if found is None:
            raise UnavailableError("The scanning process gave an answer to something else.")
        return found
