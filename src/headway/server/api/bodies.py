"""Large bodies, on their way from the network to a thread that stores them."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
from anyio import CapacityLimiter, from_thread
from fastapi import Request

from headway.errors import RequestError

UPLOADS = CapacityLimiter(16)
"""Uploads have threads of their own: each holds one for as long as its client takes, and the API must answer meanwhile."""
STALLED_SECONDS = 60.0
"""A body of which nothing arrives for so long is given up."""
GATHERED_BYTES = 1 << 20
"""Handed to the storing thread at once: going from one thread to the other costs as much as many small pieces."""


def body_chunks(request: Request) -> Iterator[bytes]:
    """The body as it arrives, pulled by the storing thread at the pace at which it stores."""
    stream = request.stream()
    ended = False

    async def following() -> list[bytes]:
        nonlocal ended
        pieces, size = [], 0
        try:
            with anyio.fail_after(STALLED_SECONDS) as scope:
                while size < GATHERED_BYTES:
                    piece = await stream.__anext__()
                    scope.deadline = anyio.current_time() + STALLED_SECONDS
                    pieces.append(piece)
                    size += len(piece)
        except StopAsyncIteration:
            ended = True
        except TimeoutError:
            raise RequestError(f"Nothing of the body arrived for {STALLED_SECONDS:.0f} s.") from None
        return pieces

    while not ended:
        yield from filter(None, from_thread.run(following))
