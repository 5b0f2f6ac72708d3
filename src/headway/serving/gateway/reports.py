"""Telling the server what went through: ``POST /api/v1/gateway/traffic``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import orjson

from headway.serving.gateway.server_link import LinkError, read_link
from headway.serving.gateway.traffic import Cell, Ledger

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
AT_ONCE_SECONDS = 0.05
"""How soon after another report one that cannot wait is sent."""
CELLS = 2_000
"""In one report."""
TIMEOUT_SECONDS, LAST_WORDS_SECONDS = 5.0, 1.0
MEANINGLESS = (400, 413, 422)
"""Answers after which the same report would fare no better."""


class Reporter:
    """Sends what changed, each second in which something did, and at once when somebody waits for a replica.

    Args:
        directory: The gateway's own.
        gateway: The id of this process.
        ledger: The cells.
        waiting: Deployment id to requests that wait for its replicas now.
        settle: Counts what is in flight up to now.
    """

    def __init__(
        self,
        directory: Path,
        gateway: str,
        ledger: Ledger,
        waiting: Callable[[], dict[str, int]],
        settle: Callable[[], None],
    ) -> None:
        self.gateway = gateway
        self._directory, self._ledger, self._waiting, self._settle = directory, ledger, waiting, settle
        self._kick = asyncio.Event()
        self._told_waiting = False
        self._failing = False

    def at_once(self) -> None:
        """Report now."""
        self._kick.set()

    async def run(self) -> None:
        """Report until cancelled."""
        async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            while True:
                try:
                    await asyncio.wait_for(self._kick.wait(), REPORT_SECONDS)
                except asyncio.TimeoutError:
                    pass
                self._kick.clear()
                try:
                    await self.report(client)
                except Exception:  # the boundary of the reports: a fault in them must not end them
                    log.exception("The traffic could not be reported")
                await asyncio.sleep(AT_ONCE_SECONDS)

    async def last_words(self) -> None:
        """Tell what is left before the process ends."""
        async with httpx.AsyncClient(trust_env=False, timeout=LAST_WORDS_SECONDS) as client:
            await self.report(client)

    async def report(self, client: httpx.AsyncClient) -> None:
        """Tell what there is to tell. Whatever goes wrong is kept for the next time, and disturbs nobody."""
        self._settle()
        waiting = self._waiting()
        while self._ledger.changed or waiting or self._told_waiting:
            cells = self._ledger.take(CELLS)
            try:
                await self._send(client, cells, waiting)
            except (httpx.HTTPError, httpx.InvalidURL, LinkError, ValueError) as error:
                self._ledger.put_back(cells)
                self._ledger.forget_old(monotonic())
                self._fail(error)
                return
            except asyncio.CancelledError:
                self._ledger.put_back(cells)
                raise
            self._failing, self._told_waiting = False, bool(waiting)
            if not self._ledger.changed or len(cells) < CELLS:
                return

    async def _send(self, client: httpx.AsyncClient, cells: list[Cell], waiting: dict[str, int]) -> None:
        url, headers = read_link(self._directory)
        report: dict[str, Any] = {
            "gateway": self.gateway,
            "cells": [cell.as_json() for cell in cells],
            "waiting": waiting,
        }
        answer = await client.post(
            f"{url}/api/v1/gateway/traffic",
            content=orjson.dumps(report),
            headers={**headers, "Content-Type": "application/json"},
        )
        if answer.status_code in MEANINGLESS:
            log.error("The server takes no such report: %s %s", answer.status_code, answer.text[:500])
        elif answer.status_code >= 300:
            raise LinkError(f"The server answered {answer.status_code}.")

    def _fail(self, error: Exception) -> None:
        """Said once."""
        if not self._failing:
            log.warning("The server cannot be told of the traffic; it is kept for ten minutes. %s", error)
        self._failing = True
