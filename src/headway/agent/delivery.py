"""The end of a replica: its log, its files and its last report reach the server, however long that is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headway.agent.client import ServerClient
from headway.agent.outputs import LeftFile, Uploader, collect, model_files
from headway.agent.process import UNKNOWN, ExitStatus
from headway.agent.recording import Recording
from headway.agent.reporting import Reporter
from headway.agent.workspace import Places
from headway.attempts import ReplicaExit
from headway.domain.base import now
from headway.domain.files import FileEntry
from headway.domain.replicas import ReplicaPhase, ReplicaSpec
from headway.errors import HeadwayError

PATIENCE_SECONDS = 24 * 3600.0
"""How long the server is waited for."""

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """How it ended, as far as it is known."""

    status: ExitStatus = UNKNOWN
    reason: str = ""
    last_lines: tuple[str, ...] = ()
    started_at: datetime | None = None
    finished_at: datetime | None = None

    def to_exit(self) -> ReplicaExit:
        self.finished_at = self.finished_at or now()
        return ReplicaExit(
            exit_code=self.status.exit_code,
            signal=self.status.signal,
            reason=self.reason,
            started_at=self.started_at,
            finished_at=self.finished_at,
        )


class Delivery:
    """Brings everything to the server, in the order that readers rely on: log, what was tracked, files, then the word that
    it is over.

    Args:
        spec: Whose.
        client: A connection of the delivery's own.
        reporter: Takes the last report.
        give_up: Set when the server wants no more of this agent.
        tracked: What the program had as HEADWAY_DIR; None when it never ran.
    """

    def __init__(
        self,
        spec: ReplicaSpec,
        client: ServerClient,
        reporter: Reporter,
        give_up: threading.Event,
        tracked: Path | None,
    ) -> None:
        self._spec, self._reporter, self._give_up = spec, reporter, give_up
        self._client, self._tracked = client, tracked
        self._uploader = Uploader(client, spec.project_id, give_up=give_up, patience=PATIENCE_SECONDS)

    def run(self, outcome: Outcome, recording: Recording | None, places: Places | None) -> None:
        """Return when the server took the last report, or will never do so."""
        reasons = [outcome.reason]
        if recording is not None and not recording.deliver(seconds=PATIENCE_SECONDS, give_up=self._give_up):
            reasons.append("its log could not be shipped in full")
        reasons += self._ship_tracked()
        model: tuple[FileEntry, ...] = ()
        output: tuple[FileEntry, ...] = ()
        if places is not None and outcome.started_at is not None and self._spec.collect_files:
            since = outcome.started_at.timestamp()
            model = self._keep("model", lambda: model_files(places, since), reasons)
            output = self._keep("output", lambda: collect(places.output), reasons)
        self._reporter.tell(
            phase=ReplicaPhase.EXITED,
            reason="; ".join(reason for reason in reasons if reason),
            exit_code=outcome.status.exit_code,
            signal=outcome.status.signal,
            last_lines=outcome.last_lines,
            model_files=model,
            output_files=output,
            finished_at=outcome.finished_at,
        )
        if not self._reporter.wait_accepted(PATIENCE_SECONDS):
            log.error("the last report was not accepted")

    def _ship_tracked(self) -> list[str]:
        """Send what the program tracked and could not send itself; what is wrong with it, in words."""
        if self._tracked is None or not self._tracked.is_dir():
            return []
        from headway.agent.tracking import LeftTracking  # few programs leave anything

        left = LeftTracking(self._tracked, self._spec, self._client, give_up=self._give_up, patience=PATIENCE_SECONDS)
        try:
            failed = left.ship()
        except (HeadwayError, OSError) as error:
            log.error("what was tracked could not be shipped: %s", error)
            return [f"what it tracked could not be shipped: {error}"]
        return [f"what it tracked could not be shipped in full: {'; '.join(failed)}"] if failed else []

    def _keep(self, what: str, find: Callable[[], list[LeftFile]], reasons: list[str]) -> tuple[FileEntry, ...]:
        try:
            return self._uploader.store(find())
        except (HeadwayError, OSError) as error:
            log.error("the %s files could not be stored: %s", what, error)
            reasons.append(f"its {what} files could not be stored: {error}")
            return ()
