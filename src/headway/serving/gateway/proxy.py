"""From a client's request to a replica's answer."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import quote

from headway.serving.gateway.balancer import choose
from headway.serving.gateway.health import HealthKeeper
from headway.serving.gateway.routes import Backend, Entry, Group
from headway.serving.gateway.upstream import BrokenError, ConnectError, OverdueError, Reply
from headway.serving.http.messages import Request, Response, error_response

NEWS_SECONDS = 0.5
"""How long a request to a stopped deployment waits: the word that it was started may still be on its way."""
WAIT_SECONDS = 60.0
"""How long a request waits for a replica of a deployment that should run."""
ANSWER_SECONDS = 300.0
"""How long a replica may take for one prediction."""
MAX_OUTSTANDING = 1024
"""Requests of one deployment that are waiting or being answered, beyond which the next is refused at once."""

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)
_NOT_FORWARDED = _HOP_BY_HOP | {b"host", b"content-length", b"expect", b"authorization", b"cookie", b"origin"}
_NOT_RETURNED = _HOP_BY_HOP | {
    b"content-length",
    b"content-type",
    b"date",
    b"set-cookie",
    b"x-content-type-options",
    b"x-headway-model",
}


class Proxy:
    """Forwards requests.

    A request is sent to another replica only when the first could not be connected to; once its bytes were sent it may
    have had an effect, so it is answered with 502 when the replica breaks off.
    """

    def __init__(self, health: HealthKeeper) -> None:
        self.health = health

    async def forward(self, entry: Entry, request: Request, verb: str) -> Response:
        """The answer of one of the deployment's replicas, or why there is none."""
        if entry.outstanding >= MAX_OUTSTANDING:
            return error_response(429, "Too many requests to this deployment at once.", headers=_retry(1))
        started = time.perf_counter()
        code = 499  # as nginx counts it: the client left
        entry.outstanding += 1
        entry.metrics.in_flight += 1
        try:
            response = await self._send(entry, request, verb)
            code = response.status
            return response
        finally:
            entry.outstanding -= 1
            entry.metrics.in_flight -= 1
            entry.metrics.observe(code, time.perf_counter() - started)

    async def _send(self, entry: Entry, request: Request, verb: str) -> Response:
        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            chosen = await self._replica(entry, deadline)
            if isinstance(chosen, Response):
                return chosen
            group, backend = chosen
            message = build_message(request, backend.address, f"/model-serving/{entry.id}", verb)
            backend.outstanding += 1
            try:
                reply = await backend.pool.exchange(message, ANSWER_SECONDS)
            except ConnectError as error:
                self.health.failed(entry, backend, error)
                continue
            except (BrokenError, OverdueError) as error:
                return self._lost(entry, backend, error)
            finally:
                backend.outstanding -= 1
            self.health.answered(backend)
            return build_response(reply, group)

    async def _replica(self, entry: Entry, deadline: float) -> tuple[Group, Backend] | Response:
        """A replica to send to; waits for one while the deployment should run."""
        while True:
            if entry.gone:
                return error_response(404, "This deployment has been removed.")
            if entry.stopped:
                if await entry.changed.wait(NEWS_SECONDS):
                    continue
                return error_response(503, "This deployment is stopped.", headers=_retry(10))
            chosen = choose(entry)
            if chosen is not None:
                return chosen
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return error_response(503, _no_replica(entry), headers=_retry(5))
            await entry.changed.wait(left)

    def _lost(self, entry: Entry, backend: Backend, error: Exception) -> Response:
        if isinstance(error, OverdueError):
            self.health.overdue(entry, backend, error)
            return error_response(504, f"The replica did not answer in time. {error}")
        self.health.failed(entry, backend, error)
        return error_response(502, "The replica ended while it worked on this request.")


def _no_replica(entry: Entry) -> str:
    reason = f" {entry.route.reason}" if entry.route.reason else ""
    return f"No replica of this deployment is ready ({entry.route.state.value}).{reason}"


def _retry(seconds: int) -> tuple[tuple[str, str], ...]:
    return (("Retry-After", str(seconds)),)


def build_message(request: Request, address: str, path: str, verb: str) -> bytes:
    """The request anew: one path, one length, and of its headers only those that are meant for the end."""
    named = {word.strip().lower() for value in request.values(b"connection") for word in value.split(b",")}
    # A HEAD is asked for as a GET: the answer's body is left out when it is written to the client.
    method, target = ("POST", f"{path}:{verb}") if verb == "predict" else ("GET", f"{path}/{verb}")
    parts = [f"{method} {target} HTTP/1.1\r\nhost: {address}\r\n".encode("latin-1")]
    for name, value in request.headers:
        if name not in _NOT_FORWARDED and name not in named:
            parts.append(b"%b: %b\r\n" % (name, value))
    parts.append(b"content-length: %d\r\n\r\n" % len(request.body))
    parts.append(request.body)
    return b"".join(parts)


def build_response(reply: Reply, group: Group) -> Response:
    """The replica's answer for the client, with the version that gave it in ``X-Headway-Model``."""
    content_type = "application/octet-stream"
    headers = []
    for name, value in reply.headers:
        if name == b"content-type":
            content_type = value.decode("latin-1")
        elif name not in _NOT_RETURNED:
            headers.append((name.decode("latin-1"), value.decode("latin-1")))
    headers.append(("X-Headway-Model", f"{quote(group.model)}/{group.version}"))
    return Response(reply.status, reply.body, content_type=content_type, headers=tuple(headers))
