"""Saves the log of an agent that died: what it had journaled and not shipped."""

from __future__ import annotations

import logging
from pathlib import Path

from headway.domain.replicas import Attempt
from headway.engines.base import KeepsJournals
from headway.errors import CorruptDataError, HeadwayError
from headway.journal.codec import JournalHeader
from headway.journal.reader import read_header
from headway.journal.shipper import Shipper
from headway.server.actions import streams
from headway.server.context import Platform

logger = logging.getLogger("headway.workers.salvage")


def salvage(platform: Platform, attempt: Attempt, replica_id: str) -> None:
    """Take over the journals of one dead agent and close their streams. What cannot be read is logged, not raised."""
    if not isinstance(platform.engine, KeepsJournals):
        return
    for path in platform.engine.journals(attempt.token, replica_id):
        try:
            _ship(platform, attempt, path)
        except (OSError, HeadwayError):
            logger.exception("the journal %s could not be taken over whole", path.name)


def _ship(platform: Platform, attempt: Attempt, path: Path) -> None:
    header = read_header(path)
    if header.run != attempt.run_id:
        raise CorruptDataError(f"The journal {path.name} belongs to the run {header.run!r}.")
    shipper = Shipper(path, _OwnStreams(platform, header))
    try:
        shipper.ship(close=True)
    finally:
        shipper.release()


class _OwnStreams:
    """A sink that is this server itself."""

    def __init__(self, platform: Platform, header: JournalHeader) -> None:
        self._platform, self._header = platform, header

    def send(self, offset: int, data: bytes, *, close: bool) -> int:
        header = self._header
        return streams.append(
            self._platform,
            header.run,
            header.stream,
            data,
            offset=offset,
            writer=header.writer,
            attempt=header.attempt,
            replica=header.replica,
            close=close,
        ).committed
