"""Gives up uploads that nobody goes on with."""

from __future__ import annotations

from headway.server.actions import uploads
from headway.server.context import Platform


class UploadWorker:
    """Looks every ten minutes; what else nothing refers to stays until somebody asks for a collection."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def look(self) -> None:
        uploads.remove_abandoned(self._platform)
