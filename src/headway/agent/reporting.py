"""Telling the server how the replica is, and hearing what it wants.

Two threads with a connection each: one sends a report whenever something changed, until the server took it; the other
holds the long poll, which is the heartbeat and brings the directive.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from headway.agent.client import Pauses, ServerClient, is_passing
from headway.domain.replicas import Directive, ReplicaPhase, ReplicaReport
from headway.errors import HeadwayError, InvalidRequestError, PayloadTooLargeError, StaleAttemptError

WAIT_SECONDS = 10
"""How long the server holds a poll."""
ANSWER_SECONDS = WAIT_SECONDS + 15.0
QUICK_ANSWER = 0.5
"""A poll that is answered sooner than this without news is not repeated at once."""
REFUSALS_AT_FIRST, REFUSALS_LATER = 30, 4
"""A refused token counts after this many times in a row: a stale address may lead to another server for a moment."""
MAX_REASON = 16_000

log = logging.getLogger(__name__)


class Reporter:
    """The present report, and the threads that carry it.

    Args:
        client: A connection; each thread makes its own from it.
        replica_id: Whose reports.
        attempt_token: Says for which attempt they are.
        on_directive: Called on a thread of the reporter's with each newer directive.
        on_refused: Called once, when the server no longer wants this agent.
    """

    def __init__(
        self,
        client: ServerClient,
        replica_id: str,
        attempt_token: str,
        *,
        on_directive: Callable[[Directive], None],
        on_refused: Callable[[HeadwayError], None],
    ) -> None:
        self._client = client
        self._path = f"/api/v1/replicas/{replica_id}/report"
        self._on_directive, self._on_refused = on_directive, on_refused
        self._report = ReplicaReport(attempt_token=attempt_token, phase=ReplicaPhase.PREPARING)
        self._told, self._accepted = 0, -1
        self._version = -1
        self._refusals = 0
        self._changed = threading.Condition()
        self._closed = threading.Event()

    def start(self) -> None:
        for name, work in (("report", self._push), ("poll", self._poll)):
            threading.Thread(target=work, name=name, daemon=True).start()

    def tell(self, **changes: Any) -> None:
        """Change fields of the report; it is sent until the server took it."""
        if "reason" in changes:
            changes["reason"] = changes["reason"][:MAX_REASON]
        with self._changed:
            self._report = ReplicaReport.model_validate({**dict(self._report), **changes})
            self._told += 1
            self._changed.notify_all()

    def wait_accepted(self, seconds: float) -> bool:
        """Whether the server took everything that was told, waiting at most so long for it (less when refused)."""
        with self._changed:
            self._changed.wait_for(lambda: self._accepted >= self._told or self._closed.is_set(), seconds)
            return self._accepted >= self._told

    def close(self) -> None:
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    def _push(self) -> None:
        client, pauses = self._client.sibling(), Pauses()
        while self._wait_for_news():
            with self._changed:
                number, report = self._told, self._report
            try:
                self._hear(self._send(client, report, wait=0))
            except HeadwayError as error:
                self._failed(error)
                self._closed.wait(pauses.next())
            else:
                pauses.reset()
                self._took(number)
        client.close()

    def _wait_for_news(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._accepted < self._told or self._closed.is_set())
            return not self._closed.is_set()

    def _took(self, number: int) -> None:
        with self._changed:
            self._accepted = max(self._accepted, number)
            self._changed.notify_all()

    def _poll(self) -> None:
        client, pauses = self._client.sibling(), Pauses()
        while not self._closed.is_set():
            with self._changed:
                report = self._report
            began = time.monotonic()
            try:
                news = self._hear(self._send(client, report, wait=WAIT_SECONDS))
            except HeadwayError as error:
                self._failed(error)
                self._closed.wait(pauses.next())
            else:
                pauses.reset()
                if not news and time.monotonic() - began < QUICK_ANSWER:
                    self._closed.wait(QUICK_ANSWER)
        client.close()

    def _send(self, client: ServerClient, report: ReplicaReport, *, wait: int) -> Directive:
        path = f"{self._path}?known={max(self._version, 0)}&wait={wait}"
        body = report.model_dump_json().encode()
        answer = client.send("POST", path, body, content_type="application/json", timeout=ANSWER_SECONDS)
        return Directive.model_validate(answer)

    def _hear(self, directive: Directive) -> bool:
        with self._changed:
            self._refusals = 0
            if directive.version <= self._version:
                return False
            self._version = directive.version
        self._on_directive(directive)
        return True

    def _failed(self, error: HeadwayError) -> None:
        if is_passing(error):
            return
        log.warning("the server refused a report: %s: %s", error.code, error)
        if isinstance(error, (InvalidRequestError, PayloadTooLargeError)) and self._reduce(error):
            return
        with self._changed:
            self._refusals += 1
            limit = REFUSALS_LATER if self._version >= 0 else REFUSALS_AT_FIRST
            final = isinstance(error, StaleAttemptError) or self._refusals >= limit
        if final and not self._closed.is_set():
            self.close()
            self._on_refused(error)

    def _reduce(self, error: HeadwayError) -> bool:
        """Say less rather than nothing: leave out lists; False when there is nothing to leave out."""
        with self._changed:
            report = self._report
            if not (report.model_files or report.output_files or report.last_lines):
                return False
            reason = f"{report.reason} (the server refused the full report: {error})".strip()
            changes = {"model_files": (), "output_files": (), "last_lines": (), "reason": reason[:MAX_REASON]}
            self._report = report.model_copy(update=changes)
            return True
