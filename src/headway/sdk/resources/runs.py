"""client.runs: what is tracked. Jobs and deployments have one each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headway.domain.runs import Run, Stream
from headway.sdk.resources.comparisons import RunComparisons
from headway.sdk.resources.entries import RunEntries
from headway.sdk.resources.metrics import RunMetrics
from headway.sdk.views import RunView


class Runs(RunMetrics, RunEntries, RunComparisons):
    path = "/api/v1/runs"
    noun = "run"

    def get(self, run: str) -> RunView:
        """By id: the record, which can also be asked for metrics, logs and more."""
        return RunView.of(self._session.get(Run, self._address(run)), self._session)

    def list(self, *, project: str | None = None, limit: int | None = None) -> Iterator[RunView]:
        """Runs, newest first."""
        found = self._session.pages(Run, self.path, {"project": self._scope(project)}, limit)
        return (RunView.of(run, self._session) for run in found)

    def streams(self, run: str) -> Sequence[Stream]:
        """What the run has emitted, and how far the server holds it."""
        return self._session.items(Stream, self._address(run, "streams"))
