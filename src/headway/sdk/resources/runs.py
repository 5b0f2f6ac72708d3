"""client.runs: what is tracked. Jobs and deployments have one each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headway.domain.runs import Run, Stream
from headway.sdk.resources.base import Resource


class Runs(Resource):
    path = "/api/v1/runs"
    noun = "run"

    def get(self, run: str) -> Run:
        """By id."""
        return self._session.get(Run, self._address(run))

    def list(self, *, project: str | None = None, limit: int | None = None) -> Iterator[Run]:
        """Runs, newest first."""
        return self._session.pages(Run, self.path, {"project": self._scope(project)}, limit)

    def streams(self, run: str) -> Sequence[Stream]:
        """What the run has emitted, and how far the server holds it."""
        return self._session.items(Stream, self._address(run, "streams"))
