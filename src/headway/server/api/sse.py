"""Server-sent events: the one way live data leaves the server."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from headway.errors import HeadwayError
from headway.server.actions.access import renew
from headway.server.context import Caller, Platform

logger = logging.getLogger("headway.server")

KEEP_ALIVE_SECONDS = 15.0
PAUSE_BETWEEN_LOOKS = 0.02
"""Merges what comes in quick succession into one look and one message."""
FOLLOWERS_A_PAUSE = 20
"""With more followers than this the pause grows in proportion, so that they never take all of the server's time."""

RENEW_SECONDS = 0.5
"""How long a client may be served on rights that were looked up before."""


@dataclass(frozen=True)
class Batch:
    """What one look found: encoded messages, and whether nothing ever follows."""

    messages: tuple[bytes, ...] = ()
    ended: bool = False
    more: bool = False
    """Look again at once, for there was more than one look could take."""


def message(event: str, data: object, id: str | None = None) -> bytes:
    """One event in the format of the HTML standard, section 9.2."""
    text = data if isinstance(data, str) else json.dumps(data, allow_nan=False)
    lines = [f"id: {id}"] if id is not None else []
    lines += [f"event: {event}", *(f"data: {line}" for line in text.split("\n"))]
    return ("\n".join(lines) + "\n\n").encode()


def stream(platform: Platform, caller: Caller, look: Callable[[Caller], Batch]) -> StreamingResponse:
    """A response that sends what ``look`` finds, now and after every change, until it says that it ended.

    ``look`` runs in a thread, and remembers by itself what it has sent. It is given the caller with the rights of now.
    """
    headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
    return StreamingResponse(_follow(platform, caller, look), media_type="text/event-stream", headers=headers)


async def _follow(platform: Platform, caller: Caller, look: Callable[[Caller], Batch]) -> AsyncIterator[bytes]:
    yield b": headway\n\n"
    try:
        async for encoded in _messages(platform, caller, look):
            yield encoded
    except HeadwayError as error:
        # The status was sent long ago. The client comes back, and is then told what is wrong.
        logger.info("a stream of the user %s ended: %s", caller.user.id, error.code)


async def _messages(platform: Platform, caller: Caller, look: Callable[[Caller], Batch]) -> AsyncIterator[bytes]:
    wakeups = platform.wakeups
    silent_since = renewed = asyncio.get_running_loop().time()
    while not wakeups.closed:
        seen = wakeups.generation
        if asyncio.get_running_loop().time() - renewed >= RENEW_SECONDS:
            renewed = asyncio.get_running_loop().time()
            caller = await run_in_threadpool(renew, platform, caller)
        batch = await run_in_threadpool(look, caller)
        for encoded in batch.messages:
            yield encoded
        if batch.ended:
            yield message("end", {})
            return
        now = asyncio.get_running_loop().time()
        if batch.messages:
            silent_since = now
        if batch.more:
            continue
        left = KEEP_ALIVE_SECONDS - (now - silent_since)
        if left <= 0:
            yield b": still here\n\n"
            silent_since = now
            continue
        await wakeups.wait(seen, left)
        await asyncio.sleep(PAUSE_BETWEEN_LOOKS * max(1.0, wakeups.waiting / FOLLOWERS_A_PAUSE))
