"""Keeps the records of runs up to what was heard of them: facts, silence, bytes that are to go."""

from __future__ import annotations

import logging
from collections.abc import Callable

from headway.domain.runs import FACTS
from headway.server.actions import facts, heartbeats, runs, version_facts
from headway.server.context import Platform
from headway.server.workers.reconciler import Pacer

logger = logging.getLogger("headway.workers.runs")

FOLD_SECONDS = 0.2
"""A run's new facts are taken in so often at most."""
SILENCE_SECONDS = 1.0
REMOVAL_SECONDS = 10.0
FAILURE_SECONDS = 30.0
"""How long a run whose facts could not be taken in is left alone."""


class RunWorker:
    """One look takes in new facts; now and then it looks for runs that fell silent and for bytes of deleted ones."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._reader = facts.FactReader(platform)
        self._folding, self._failing = Pacer(FOLD_SECONDS), Pacer(FAILURE_SECONDS)
        self._failed: set[str] = set()
        self._seldom = [
            (Pacer(SILENCE_SECONDS), lambda: heartbeats.mark_lost(platform)),
            (Pacer(REMOVAL_SECONDS), self._remove),
        ]

    def look(self) -> None:
        with self._platform.storage.read() as session:
            streams = session.streams.unfolded([FACTS])
        for run_id in dict.fromkeys(stream.run_id for stream in streams):
            if run_id in self._failed and not self._failing.due(run_id):
                continue
            if self._folding.due(run_id):
                self._fold(run_id)
        for pacer, step in self._seldom:
            if pacer.due("step"):
                self._guarded(step)

    def _fold(self, run_id: str) -> None:
        """One run's trouble must not keep the others waiting."""
        try:
            facts.fold(self._platform, self._reader, run_id)
            version_facts.refresh(self._platform, run_id)
            self._failed.discard(run_id)
        except Exception:
            logger.exception("run %s: its facts could not be taken in; it is tried again", run_id)
            self._reader.forget(run_id)
            self._failed.add(run_id)
            self._failing.due(run_id)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            logger.exception("a step over all runs failed; it is tried again")

    def _remove(self) -> None:
        with self._platform.storage.read() as session:
            left = session.removed_runs.list(limit=1)
        if left:
            runs.remove_bytes(self._platform)
