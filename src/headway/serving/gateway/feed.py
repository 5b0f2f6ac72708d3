"""The routes from the server, by long poll; the last ones in a file, so that the gateway serves while the server is away.

``GET /api/v1/gateway/routes?known=V&wait=S`` answers as soon as the table's version is above ``known``, and after ``wait``
seconds with what there is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson

from headway.domain.deployments import Route, RouteTable
from headway.errors import HeadwayError
from headway.paths import write_atomic
from headway.serving.gateway.server_link import LinkError, read_link
from headway.serving.gateway.signals import Signal

log = logging.getLogger(__name__)

WAIT_SECONDS = 20
ROUTES_FILE = "routes.json"
REFRESH_SECONDS = 1.0
"""At most so often, and for at most so long, is the server asked about a deployment that is not known."""
FIRST_PAUSE, LAST_PAUSE = 0.1, 2.0


class TableReader:
    """Reads tables, and of each only what is new: among a thousand routes one changes at a time."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[dict[str, Any], Route]] = {}

    def read(self, content: bytes) -> RouteTable:
        """The table in the JSON of a :class:`RouteTable`; routes that are as they were are the same objects.

        Raises:
            ValueError: It is none.
        """
        known: dict[str, tuple[dict[str, Any], Route]] = {}
        try:
            table = orjson.loads(content)
            version = int(table["version"])
            for raw in table["routes"]:
                before = self._known.get(raw["deployment_id"])
                same = before is not None and before[0] == raw
                known[raw["deployment_id"]] = before if same and before else (raw, _route(raw))
        except (KeyError, TypeError) as error:
            raise ValueError(f"This is no table of routes: {error!r}") from error
        self._known = known
        return RouteTable.model_construct(version=version, routes=tuple(route for _, route in known.values()))


def _route(raw: dict[str, Any]) -> Route:
    return Route.model_validate_json(orjson.dumps(raw))


class RouteFeed:
    """Follows the server's table.

    Args:
        directory: The gateway's own; the server's lies above it.
        apply: Takes each new table.
    """

    def __init__(self, directory: Path, apply: Callable[[RouteTable], None]) -> None:
        self.directory = directory
        self._apply = apply
        self._table: RouteTable | None = None
        self._reader = TableReader()
        self._content = b""
        self._kick = asyncio.Event()
        self._kicked_at = float("-inf")
        self._refreshing = False
        self._refreshed = Signal()
        self._confirmed = False
        self._failures = 0

    def load_saved(self) -> bool:
        """Start from the last feed in the file. False when there is none, or none that can be read."""
        path = self.directory / ROUTES_FILE
        try:
            self._take(self._reader.read(path.read_bytes()))
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            log.warning("The saved routes in %s cannot be used: %s", path, error)
            return False
        return True

    async def refresh(self, *, patient: bool) -> None:
        """Ask the server now; back once it answered, after a second at most.

        It is asked once a second at most: until a second has passed since the last time nothing is asked, or, for the
        ``patient``, it is asked then.
        """
        asked = time.monotonic()
        left = self._kicked_at + REFRESH_SECONDS - asked
        if not self._refreshing and left > 0:
            if not patient:
                return
            await asyncio.sleep(left)
        if not self._refreshing:
            if self._kicked_at > asked:
                return  # somebody else has asked meanwhile, and was answered
            self._kicked_at = time.monotonic()
            self._refreshing = True
            self._kick.set()
        await self._refreshed.wait(REFRESH_SECONDS)

    async def run(self) -> None:
        """Follow until cancelled."""
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    await self._round(client)
                except Exception:  # the boundary of the feed: the gateway goes on with what it has
                    log.exception("The route feed failed")
                    await asyncio.sleep(LAST_PAUSE)

    async def _round(self, client: httpx.AsyncClient) -> None:
        """Ask once. A refresh that comes meanwhile breaks off the long poll, and the next round asks without waiting."""
        kicked = self._kick.is_set()
        self._kick.clear()
        started = time.monotonic()
        asking = asyncio.ensure_future(self._ask(client, 0 if kicked or not self._confirmed else WAIT_SECONDS))
        if not kicked and not await self._undisturbed(asking):
            return
        try:
            table = await asking
            await self._accept(table, pause_unchanged=not kicked and time.monotonic() - started < 1.0)
        except LinkError as error:
            await self._failed(error, kicked)
        finally:
            if kicked:
                self._refreshing = False
                self._refreshed.fire()

    async def _undisturbed(self, asking: asyncio.Future[Any]) -> bool:
        """Wait for the answer; False when a refresh came first and the question was withdrawn."""
        kicking: asyncio.Future[Any] = asyncio.ensure_future(self._kick.wait())
        try:
            await asyncio.wait({asking, kicking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            kicking.cancel()
            if not asking.done():
                asking.cancel()
        return not asking.cancelled() and asking.done()

    async def _ask(self, client: httpx.AsyncClient, wait: int) -> RouteTable:
        url, headers = read_link(self.directory)
        try:
            answer = await client.get(
                f"{url}/api/v1/gateway/routes",
                params={"known": self._table.version if self._table else 0, "wait": wait},
                headers=headers,
                timeout=httpx.Timeout(5.0, read=wait + 10.0),
            )
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise LinkError(f"{type(error).__name__}: {error}") from error
        if answer.status_code != 200:
            raise LinkError(f"The server answered {answer.status_code}.")
        try:
            table = self._reader.read(answer.content)
        except ValueError as error:
            raise LinkError(f"The server's routes make no sense: {error}") from error
        self._content = answer.content
        return table

    async def _accept(self, table: RouteTable, *, pause_unchanged: bool) -> None:
        if self._failures:
            log.warning("The server answers again")
        self._failures, self._confirmed = 0, True
        if table != self._table:
            self._take(table)
            await asyncio.to_thread(self._save, self._content)
        elif pause_unchanged:
            await self._pause(1.0)  # a server that does not wait must not be asked in a tight loop

    def _take(self, table: RouteTable) -> None:
        self._apply(table)
        self._table = table

    def _save(self, content: bytes) -> None:
        try:
            write_atomic(self.directory / ROUTES_FILE, content)
        except (OSError, HeadwayError) as error:
            log.warning("The routes could not be saved: %s", error)

    async def _failed(self, error: LinkError, kicked: bool) -> None:
        """Wait a little longer each time. Said once: the gateway goes on with the routes it has."""
        if self._failures == 0:
            log.warning("The server cannot be asked for routes; going on with those known. %s", error)
        self._failures += 1
        if not kicked:
            await self._pause(min(FIRST_PAUSE * 2 ** min(self._failures, 10), LAST_PAUSE))

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless a refresh is wanted."""
        try:
            await asyncio.wait_for(self._kick.wait(), seconds)
        except asyncio.TimeoutError:
            pass
