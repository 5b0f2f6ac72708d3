"""Gives back the disk of attempts that are over, ends what nobody knows, and forgets old answers and traffic."""

from __future__ import annotations

import logging
from datetime import timedelta

from headway.domain.base import now
from headway.domain.replicas import Attempt
from headway.engines.base import AgentState, ForgetsAttempts
from headway.server.actions import traffic
from headway.server.context import Platform

logger = logging.getLogger("headway.workers.cleaning")

KEEP_ANSWERS = timedelta(days=1)


class CleaningWorker:
    """Looks once a minute at what the engine still keeps."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def look(self) -> None:
        # An attempt is recorded before it is placed: asked in this order, nothing that is placed meanwhile is unknown.
        tokens = self._platform.engine.list()
        with self._platform.storage.read() as session:
            known = {attempt.token: attempt for attempt in session.attempts.by_tokens(tokens)}
        for token in tokens:
            try:
                self._clean(token, known.get(token))
            except Exception:
                logger.exception("attempt %s: it could not be cleaned up; it is tried again", token)
        with self._platform.storage.write() as session:
            session.idempotency.delete_before(now() - KEEP_ANSWERS)
        traffic.prune(self._platform)

    def _clean(self, token: str, attempt: Attempt | None) -> None:
        engine = self._platform.engine
        if attempt is None:
            engine.stop(token, hard=True)
        elif not self._due(attempt):
            return
        if isinstance(engine, ForgetsAttempts) and self._quiet(token):
            engine.forget(token)

    def _due(self, attempt: Attempt) -> bool:
        keep = timedelta() if attempt.succeeded else timedelta(hours=self._platform.keep_failed_hours)
        return attempt.ended_at is not None and now() - attempt.ended_at >= keep

    def _quiet(self, token: str) -> bool:
        return all(seen.state is not AgentState.ALIVE for seen in self._platform.engine.observe(token))
