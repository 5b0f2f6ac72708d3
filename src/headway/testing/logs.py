"""Log streams as agents ship them, made without an agent: for tests and benchmarks of what reads logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import httpx

from headway.domain.base import now
from headway.journal.codec import (
    KIND_END,
    KIND_HEADER,
    KIND_LOG,
    JournalHeader,
    encode_frame,
    encode_header,
    encode_lines,
)
from headway.journal.compression import compress
from headway.journal.frames import MAGIC
from headway.testing.server import ServerProcess

BATCH_BYTES = 64 << 10
"""What an agent reads from a pipe at once, about."""
SEND_BYTES = 4 << 20


def frames_of(
    run_id: str, lines: Iterable[bytes], *, replica: str = "worker-0", time_ms: int = 1000
) -> Iterator[bytes]:
    """The bytes of a closed log stream, frame by frame; each batch of lines a millisecond after the one before."""
    header = JournalHeader(run=run_id, stream=name_of(replica), writer="w", attempt=1, replica=replica, created=now())
    yield MAGIC + encode_frame(KIND_HEADER, encode_header(header))
    batch: list[bytes] = []
    number, size = 1, 0
    for line in lines:
        batch.append(line)
        size += len(line) + 1
        if size >= BATCH_BYTES:
            yield encode_frame(KIND_LOG, encode_lines(number, time_ms, b"\n".join(batch)))
            number, time_ms, size = number + len(batch), time_ms + 1, 0
            batch = []
    if batch:
        yield encode_frame(KIND_LOG, encode_lines(number, time_ms, b"\n".join(batch)))
    yield encode_frame(KIND_END, b"")


def name_of(replica: str) -> str:
    """The stream that :func:`ship_log` writes."""
    return f"logs/{replica}-w"


def ship_log(server: ServerProcess, run_id: str, lines: Iterable[bytes], *, replica: str = "worker-0") -> int:
    """Send a whole log over HTTP, and close it; its bytes."""
    url = f"{server.url}/api/v1/runs/{run_id}/streams/{name_of(replica)}"
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/zstd"}
    offset, waiting = 0, b""
    with httpx.Client(timeout=60, trust_env=False) as client:

        def send(data: bytes, *, close: bool) -> None:
            where: dict[str, str | int | bool] = {"offset": offset, "close": close}
            query = {**where, "writer": "w", "attempt": 1, "replica": replica}
            client.put(url, params=query, content=compress(data), headers=headers).raise_for_status()

        for frame in frames_of(run_id, lines, replica=replica):
            if len(waiting) + len(frame) > SEND_BYTES:
                send(waiting, close=False)
                offset, waiting = offset + len(waiting), b""
            waiting += frame
        send(waiting, close=True)
    return offset + len(waiting)
