"""The access log: JSON lines, written by another thread, rotated. Never tokens, queries or bodies."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from headway.serving.gateway.relay import Relay
    from headway.serving.http.messages import Request

log = logging.getLogger(__name__)

FILE_NAME = "access.log"
FLUSH_SECONDS = 0.25
LARGEST_FILE = 32 * 1024 * 1024
KEPT_FILES = 4
"""The present one among them."""
LARGEST_BUFFER = 8 * 1024 * 1024
"""Bytes that wait for a disk that does not keep up; lines that come then are counted and dropped."""
LONGEST_PATH = 256


class AccessLog:
    """One line for each request.

    Args:
        path: The file; None writes nothing.
        largest: Bytes after which the file is rotated.
    """

    def __init__(self, path: Path | None, *, largest: int = LARGEST_FILE) -> None:
        self._path, self._largest = path, largest
        self._lines: list[bytes] = []
        self._size = self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        self._failed = False

    def write(self, relay: Relay, status: int, size: int, seconds: float) -> None:
        """A request of a deployment was answered, or left."""
        if self._path is None:
            return
        request, backend = relay.exchange.request, relay.backend
        if backend is None:
            who = '"version":null,"replica":null,"waited":null'
        else:
            who = f'{_who(backend.group.key, backend.id)},"waited":{max(relay.sent_at - relay.started, 0.0):.6f}'
        asked = _asked(request.peer, request.method, request.path, relay.entry.id)
        self._add(
            f'{{"time":{time.time():.6f},"request_id":{_quoted(relay.number)},{asked},"status":{status},{who},'
            f'"seconds":{max(seconds, 0.0):.6f},"received":{len(request.body)},"sent":{size}}}\n'.encode()
        )

    def refused(self, request: Request, status: int, deployment: str | None) -> None:
        """A request was refused by its head."""
        if self._path is None:
            return
        asked = _asked(request.peer, request.method, request.path, deployment or "")
        self._add(f'{{"time":{time.time():.6f},{asked},"status":{status}}}\n'.encode())

    def _add(self, line: bytes) -> None:
        if self._size + len(line) > LARGEST_BUFFER:
            self._dropped += 1
            return
        self._lines.append(line)
        self._size += len(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        if self._writing is not None and not self._writing.done():
            self._timer = loop.call_later(FLUSH_SECONDS, self._flush)
            return
        self._timer = None
        self._writing = loop.run_in_executor(None, self._append, self._taken())

    def _taken(self) -> bytes:
        if self._dropped:
            dropped = {"time": time.time(), "dropped": self._dropped}
            self._lines.append(orjson.dumps(dropped, option=orjson.OPT_APPEND_NEWLINE))
        data = b"".join(self._lines)
        self._lines, self._size, self._dropped = [], 0, 0
        return data

    def _append(self, data: bytes) -> None:
        assert self._path is not None
        try:
            self._rotate()
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(data)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("The access log cannot be written: %s", error)
            self._failed = True

    def _rotate(self) -> None:
        assert self._path is not None
        if not self._path.exists() or self._path.stat().st_size < self._largest:
            return
        for number in range(KEPT_FILES - 1, 0, -1):
            older = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number}"))

    async def close(self) -> None:
        """Write what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        if self._lines:
            await asyncio.to_thread(self._append, self._taken())


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()


@lru_cache(maxsize=1024)
def _asked(peer: str, method: str, path: str, deployment: str) -> str:
    """What a client's requests have in common."""
    values = {"peer": peer, "method": method, "path": path[:LONGEST_PATH], "deployment": deployment}
    return orjson.dumps(values)[1:-1].decode()


@lru_cache(maxsize=1024)
def _who(version: str, replica: str) -> str:
    """Who answers."""
    return orjson.dumps({"version": version, "replica": replica})[1:-1].decode()
